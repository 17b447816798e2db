"""Stages of training with the real configurations, small, one after the other in a folder of their own."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

from mindvideo.weights.checkpoint_file import open_checkpoint

STANDING = ("optimizer.learning_rate=0", "optimizer.backbone_learning_rate=0", "data.num_frames=2")


def reduced(family: str) -> tuple[str, ...]:
    """One step of a small network, operator by operator: several would be compiled for one step each."""
    return (
        *("backbone.name=resnet_small", "backbone.widths=[8,16,16,24]", f"{family}.width=32", f"{family}.heads=2"),
        *(f"{family}.{key}" for key in ("encoder_layers=1", "decoder_layers=1", "hidden=32", "num_queries=6")),
        *("data.short_sides=[48]", "data.max_long_side=96", "data.crop_short_sides=[48]", "data.crop_range=[40,48]"),
        *("data.buckets=[[64,64]]", "data.batch_size=1", "data.max_instances=4", "data.workers=0"),
        *("inference.short_side=48", "schedule.max_steps=1", "runtime.mode=pynative"),
    )


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
        settings = self.settings(config, *words)
        start = ("--weights", self.folder / weights / "last.ckpt") if weights else ()
        self.run("train", "-c", config, *start, "--output", self.folder / config, *settings)
        self.logs[config] = (self.folder / config / "log.txt").read_text()
        output = ("--output", self.folder / f"{config}-eval")
        self.run("eval", *self.model(config), "--no-report", *output, *settings)

    def settings(self, config: str, *words: str) -> tuple[str, ...]:
        return (f"data.root={self.folder}", *reduced(config.split("_")[0]), *words)

    def model(self, config: str) -> tuple[object, ...]:
        return ("-c", config, "--weights", self.folder / config / "last.ckpt")

    def weights(self, config: str) -> dict[str, np.ndarray]:
        file = open_checkpoint(self.folder / config / "last.ckpt")
        return {name: tensor.numpy() for name, tensor in file.tensors.items()}

    def metrics(self, config: str) -> dict:
        return json.loads((self.folder / f"{config}-eval" / "metrics.json").read_text())


@contextlib.contextmanager
def chain_in(root: Path) -> Iterator[Chain]:
    """Leaves logs and MindSpore's mode as the other tests need them."""
    logger = logging.getLogger("mindvideo")
    level, propagate, handlers = logger.level, logger.propagate, list(logger.handlers)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(root)
        yield Chain(root, monkeypatch)
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)
    ms.set_context(mode=ms.GRAPH_MODE)


def assert_handed_on(before: dict, after: dict, *, heads: tuple[str, ...]) -> None:
    """Everything that both have is the same, but for the class heads, which have another shape."""
    for name, values in before.items():
        if name.startswith(heads):
            assert values.shape != after[name].shape
        elif not name.endswith(("moving_mean", "moving_variance")):
            np.testing.assert_array_equal(values, after[name], err_msg=name)
