"""COCO -> YouTube-VIS 2019 -> OVIS with the real configurations, small: each stage starts from the one before.

The second and third stage train with a learning rate of zero, so that what they hand on is what they were given. Three
networks would be compiled for one step each, so they run operator by operator.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mindvideo.evaluation.track_ap import STATISTICS
from mindvideo.weights.checkpoint_file import open_checkpoint
from tests.errands.coco_set import write_coco
from tests.errands.official_sets import ovis, youtube_vis_2019

REDUCED = (
    "backbone.name=resnet_small", "backbone.widths=[8,16,16,24]", "instanceformer.width=32", "instanceformer.heads=2",
    "instanceformer.encoder_layers=1", "instanceformer.decoder_layers=1", "instanceformer.hidden=32",
    "instanceformer.num_queries=6", "data.short_sides=[48]", "data.max_long_side=96", "data.crop_short_sides=[48]",
    "data.crop_range=[40,48]", "data.buckets=[[64,64]]", "data.batch_size=1", "data.max_instances=4", "data.workers=0",
    "inference.short_side=48", "schedule.max_steps=1",
    "runtime.mode=pynative",
)  # fmt: skip
STANDING = ("optimizer.learning_rate=0", "optimizer.backbone_learning_rate=0", "data.num_frames=2")


@dataclasses.dataclass
class Chain:
    """The commands of the YAML headers in one process, in a folder of its own."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    logs: dict[str, str] = dataclasses.field(default_factory=dict)

    def run(self, command: str, *words: object) -> None:
        self.monkeypatch.setattr(sys, "argv", [f"mindvideo {command}", *map(str, words)])
        assert not importlib.import_module(f"mindvideo.cli.{command}").main()

    def stage(self, config: str, *words: str, weights: str | None = None) -> None:
        """Train a step and evaluate the result."""
        settings = (f"data.root={self.folder}", *REDUCED, *words)
        start = ("--weights", self.folder / weights / "last.ckpt") if weights else ()
        self.run("train", "-c", config, *start, "--output", self.folder / config, *settings)
        self.logs[config] = (self.folder / config / "log.txt").read_text()
        output = ("--output", self.folder / f"{config}-eval")
        weights_of_stage = ("--weights", self.folder / config / "last.ckpt", "--no-report")
        self.run("eval", "-c", config, *weights_of_stage, *output, *settings)

    def weights(self, config: str) -> dict[str, np.ndarray]:
        file = open_checkpoint(self.folder / config / "last.ckpt")
        return {name: tensor.numpy() for name, tensor in file.tensors.items()}

    def metrics(self, config: str) -> dict:
        return json.loads((self.folder / f"{config}-eval" / "metrics.json").read_text())


COCO_STAGE, YTVIS, OVIS = "instanceformer_coco_r50", "instanceformer_ytvis2019_r50", "instanceformer_ovis_r50"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("stages")
    logger = logging.getLogger("mindvideo")
    level, propagate, handlers = logger.level, logger.propagate, list(logger.handlers)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(root)
        chain = Chain(root, monkeypatch)
        labels = write_coco(root) / "annotations" / "instances_train2017.json"
        for target in ("ytvis19", "ovis"):
            kept = labels.with_name(f"coco_keepfor_{target}.json")
            chain.run("prepare", "coco-keep", labels, "--for", target, "--output", kept)
        chain.run("prepare", "split", youtube_vis_2019(root) / "train.json", "--share", "0.4")
        chain.run("prepare", "split", ovis(root) / "annotations_train.json", "--by", "time", "--share", "0.4")
        chain.stage(COCO_STAGE)
        chain.stage(YTVIS, *STANDING, weights=COCO_STAGE)
        chain.stage(OVIS, *STANDING, "instanceformer.memory_tokens=3", weights=YTVIS)
    logger.handlers, logger.propagate = handlers, propagate  # as the other tests need it
    logger.setLevel(level)
    ms.set_context(mode=ms.GRAPH_MODE)
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


def assert_handed_on(before: dict, after: dict, *, heads: tuple[str, ...]) -> None:
    """Everything that both have is the same, but for the class heads, which have another shape."""
    for name, values in before.items():
        if name.startswith(heads):
            assert values.shape != after[name].shape
        elif not name.endswith(("moving_mean", "moving_variance")):
            np.testing.assert_array_equal(values, after[name], err_msg=name)
