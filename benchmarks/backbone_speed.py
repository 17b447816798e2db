"""How fast the backbones run, and what folding the frozen norm into the convolution saves.

    python -m benchmarks.backbone_speed --csv benchmarks/backbone_speed.csv

Times are medians of compiled graphs in one process; the ratios are what counts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import mindspore as ms
import numpy as np

import mindvideo  # noqa: F401, I001  prepares the environment before MindSpore is imported
from benchmarks.rows import append_rows
from mindvideo.modules.backbones.catalogue import build_backbone, build_resnet
from mindvideo.modules.layers.convolution import finished
from mindvideo.modules.layers.frozen_norm import FrozenBatchNorm

REPEATS = 3
FRAMES = (4, 3, 192, 320)
NAMES = ("resnet50", "resnext101_32x8d", "swin_t_p4w7", "convnext_t")


class UnfoldedNorm(FrozenBatchNorm):
    """The same numbers as a pass over the map after the convolution."""

    def after(self, conv, x, residual=None, relu=False):
        return finished(self.construct(conv(x)), residual, relu)


class MeanSquare(ms.nn.Cell):
    """A loss that every map takes part in."""

    def __init__(self, network: ms.nn.Cell) -> None:
        super().__init__()
        self.network = network

    def construct(self, frames):
        return sum([(m * m).mean() for m in self.network(frames)])


class GradientStep(ms.nn.Cell):
    """Forward and backward as one compiled graph, the way a training step runs."""

    def __init__(self, network: ms.nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.loss = MeanSquare(network)
        self.weights = ms.ParameterTuple(network.trainable_params())
        self.gradient = ms.ops.GradOperation(get_by_list=True)

    def construct(self, frames):
        return self.gradient(self.loss, self.weights)(frames)


def median_seconds(call: Callable[[], object]) -> float:
    call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def forward_and_training(network: ms.nn.Cell, frames: ms.Tensor) -> tuple[float, float]:
    """(seconds of a forward pass in evaluation, seconds of forward and backward in training)."""
    network.set_train(False)
    forward = median_seconds(lambda: [m.asnumpy() for m in network(frames)])
    network.set_train(True)
    step = GradientStep(network)
    return forward, median_seconds(lambda: step(frames)[0].asnumpy())


def rows() -> list[tuple[str, float, float]]:
    frames = ms.Tensor(np.random.default_rng(0).standard_normal(FRAMES).astype(np.float32))
    unfolded = build_backbone("resnet50")
    for _, cell in unfolded.cells_and_names():
        if isinstance(cell, FrozenBatchNorm):
            cell.__class__ = UnfoldedNorm
    measured = [("resnet50, norm not folded", *forward_and_training(unfolded, frames))]
    measured += [(name, *forward_and_training(build_backbone(name), frames)) for name in NAMES]
    small = build_resnet("resnet_small", norm="batch", trainable_stages=5)
    toy = ms.Tensor(np.random.default_rng(0).standard_normal((20, 3, 64, 96)).astype(np.float32))
    return [*measured, ("resnet_small, batch norm, 20 x 64 x 96", *forward_and_training(small, toy))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    arguments = parser.parse_args()
    ms.set_context(mode=ms.GRAPH_MODE)
    for name, forward, training in rows():
        row = {"backbone": name, "forward_s": round(forward, 3), "forward_and_backward_s": round(training, 3)}
        print(*row.values(), flush=True)
        if arguments.csv:
            append_rows(arguments.csv, [row])


if __name__ == "__main__":
    main()
