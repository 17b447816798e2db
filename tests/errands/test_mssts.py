"""MS-STS VIS from SeqFormer's first stage, as its YAML headers say: train, validate, hand in, infer on a video."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.errands.coco_set import write_coco
from tests.errands.official_sets import youtube_vis_2019
from tests.errands.stages import STANDING, Chain, assert_handed_on, chain_in

FIRST, SECOND = "seqformer_coco_r50", "mssts_ytvis2019_r50"
NEW = ("split", "temp_attn_box", "temporal")  # words in the names of what SeqFormer lacks


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("mssts")
    with chain_in(root) as chain:
        labels = write_coco(root) / "annotations" / "instances_train2017.json"
        kept = labels.with_name("coco_keepfor_ytvis19.json")
        chain.run("prepare", "coco-keep", labels, "--for", "ytvis19", "--output", kept)
        chain.run("prepare", "split", youtube_vis_2019(root) / "train.json", "--share", "0.4")
        chain.stage(FIRST)
        chain.stage(SECOND, *STANDING, weights=FIRST)
        yield chain


def test_seqformers_weights_start_it_and_only_its_own_parts_are_new(chain: Chain):
    before, after = chain.weights(FIRST), chain.weights(SECOND)
    assert_handed_on(before, after, heads=("class_embed.",))
    new = set(after) - set(before)
    assert new and all(any(word in name for word in NEW) for name in new), sorted(new)
    assert f"freshly initialised ({len(new)}): " in chain.logs[SECOND]
    assert "AP" in chain.metrics(SECOND) and chain.metrics(SECOND)["videos"] == 2


def test_the_official_set_goes_to_the_server_and_a_video_to_an_overlay(chain: Chain):
    settings = chain.settings(SECOND, "data.num_frames=2")
    official, found = chain.folder / "official", chain.folder / "found"
    chain.run("eval", *chain.model(SECOND), "--output", official, "data.valid=ytvis19/valid", *settings)
    records = json.loads((official / "results.json").read_text())
    assert {record["video_id"] for record in records} == {1, 2, 3} and not (official / "metrics.json").exists()
    frames = chain.folder / "youtube_vis_2019" / "valid" / "JPEGImages" / "01c88b5b60"
    unsure = ("inference.min_birth=0", "inference.min_life=0", "inference.confidence=0")  # one step teaches nothing
    chain.run("infer", *chain.model(SECOND), "--input", frames, "--output", found, *unsure, *settings)
    tracks = json.loads((found / frames.name / "results.json").read_text())
    assert tracks and all(len(track["segmentations"]) == 4 for track in tracks)
    assert np.isfinite([track["score"] for track in tracks]).all()
    assert (found / frames.name / "overlay.mp4").stat().st_size > 1000
