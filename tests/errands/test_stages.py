"""COCO -> YouTube-VIS 2019 -> OVIS with InstanceFormer's configurations, small: each stage starts from the one before.

The second and third stage train with a learning rate of zero, so that what they hand on is what they were given.
"""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mindvideo.evaluation.track_ap import STATISTICS
from tests.errands.coco_set import write_coco
from tests.errands.official_sets import ovis, youtube_vis_2019
from tests.errands.stages import STANDING, Chain, assert_handed_on, chain_in

COCO_STAGE, YTVIS, OVIS = "instanceformer_coco_r50", "instanceformer_ytvis2019_r50", "instanceformer_ovis_r50"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("stages")
    with chain_in(root) as chain:
        labels = write_coco(root) / "annotations" / "instances_train2017.json"
        for target in ("ytvis19", "ovis"):
            kept = labels.with_name(f"coco_keepfor_{target}.json")
            chain.run("prepare", "coco-keep", labels, "--for", target, "--output", kept)
        chain.run("prepare", "split", youtube_vis_2019(root) / "train.json", "--share", "0.4")
        chain.run("prepare", "split", ovis(root) / "annotations_train.json", "--by", "time", "--share", "0.4")
        chain.stage(COCO_STAGE)
        chain.stage(YTVIS, *STANDING, weights=COCO_STAGE)
        chain.stage(OVIS, *STANDING, "instanceformer.memory_tokens=3", weights=YTVIS)
    return chain


def test_the_first_stage_is_scored_as_pycocotools_does(chain: Chain):
    metrics, truth = chain.metrics(COCO_STAGE), COCO(str(chain.folder / "coco/annotations/instances_val2017.json"))
    found = truth.loadRes(str(chain.folder / f"{COCO_STAGE}-eval" / "coco_results.json"))
    assert metrics["images"] == 3 and len(found.anns) > 3
    for kind, ours in (("segm", metrics), ("bbox", metrics["box"])):
        evaluation = COCOeval(truth, found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        np.testing.assert_allclose([ours[name] for name in STATISTICS], evaluation.stats, atol=1e-9)


def test_the_second_stage_adds_the_temporal_class_heads(chain: Chain):
    log = chain.logs[YTVIS]
    assert "re-initialised for the new class list: class_embed.0.weight, class_embed.0.bias\n" in log
    new = "temporal_class_embed.0.weight, temporal_class_embed.0.bias"
    assert f"not in the file, freshly initialised (2): {new}\n" in log
    before, after = chain.weights(COCO_STAGE), chain.weights(YTVIS)
    assert set(after) - set(before) == {name for name in after if name.startswith("temporal_class_embed.")}
    assert_handed_on(before, after, heads=("class_embed.",))
    assert "AP" in chain.metrics(YTVIS)


def test_the_third_stage_adds_the_memory(chain: Chain):
    log = chain.logs[OVIS]
    assert (
        "re-initialised for the new class list: class_embed.0.weight, class_embed.0.bias, temporal_class_embed.0.w"
        in log
    )
    before, after = chain.weights(YTVIS), chain.weights(OVIS)
    new = set(after) - set(before)
    assert {part for name in new for part in name.split(".") if "mem" in part} == {
        "mem_token_proj", "cross_attn_mem", "norm2_mem",
    }  # fmt: skip
    assert all("mem" in name for name in new) and f"freshly initialised ({len(new)}): " in log
    assert_handed_on(before, after, heads=("class_embed.", "temporal_class_embed."))
    assert "AP" in chain.metrics(OVIS)
