"""Parts of a training graph that the backward pass computes again: the same step, in less memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from benchmarks.training_memory import Stages
from mindvideo.errors import UserError
from mindvideo.training.optimizer import build_optimizer
from mindvideo.training.parameter_groups import ParameterGroup, assign_parameters
from mindvideo.training.train_step import SUMMARY, TrainStep
from tests.training.test_train_step import RunningMean, poisoned, run
from tests.training.tiny_run import TinyNetwork, TinySource, TinyTraining, as_tensors, tiny_step

SOURCE = TinySource(batches=4)


class Part(NamedTuple):
    run: object
    weights: tuple = ()


class Pixels(nn.Cell):
    def construct(self, images, sizes):
        return images.astype(ms.float32) / 255.0, sizes


class InParts(TinyTraining):
    """The same network in three parts; the second has dropout. What is learned from comes out as a player takes it."""

    def __init__(self, network: nn.Cell, reduce_count: nn.Cell | None = None) -> None:
        super().__init__(network, reduce_count)
        self.pixels = Pixels()

    def parts(self):
        network = self.network
        norm = () if network.norm is None else tuple(network.norm.trainable_params())
        first = (*network.backbone.trainable_params(), *norm)
        return [
            Part(self.see, first),
            Part(self.move, tuple(network.sampling_offsets.trainable_params())),
            Part(self.end),
        ]

    def see(self, values, clip):
        means = clip["frames"].mean(axis=(2, 3))
        hidden = ops.tanh(self.network.backbone(means.reshape(means.shape[0], -1)))
        return (hidden if self.network.norm is None else self.network.norm(hidden),)

    def move(self, values, clip):
        return (self.network.dropout(ops.tanh(self.network.sampling_offsets(values[0]))),)

    def end(self, values, clip):
        targets = clip["targets"]
        boxes, exists = targets["boxes"], targets["exists"].astype(ms.float32)
        error = (self.network.head(values[0]).reshape(boxes.shape) - boxes) * exists[:, :, None, None]
        count = ops.maximum(exists.sum(), ms.Tensor(1.0, ms.float32))
        bbox, square = ops.sqrt(error * error + 1e-6).sum() / count, (error * error).sum() / count
        return bbox + 2.0 * square, ops.stack((bbox, square)), ()


class Twice(InParts):
    """The middle part two times, with the same weights."""

    def parts(self):
        first, middle, end = super().parts()
        return [first, middle, middle, end]

    def construct(self, images, sizes, labels, boxes, masks, present, exists):
        clip = {"frames": self.pixels(images, sizes)[0], "targets": {"boxes": boxes, "exists": exists}}
        total, terms, _ = self.end(self.move(self.move(self.see((), clip), clip), clip), clip)
        return total, terms


@pytest.fixture(autouse=True)
def graph_mode():
    ms.set_context(mode=ms.GRAPH_MODE)


def summaries(
    recompute: bool, count: int, *, training: type[nn.Cell] = InParts, dropout: float = 0.5
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Of ``count`` steps: the summaries and the norm of each gradient."""
    step = tiny_step(network=TinyNetwork(dropout=dropout), training=training, recompute=recompute)
    step.set_train(True)
    found = [step(*as_tensors(SOURCE.batch(0, index))) for index in range(count)]
    return [summary.asnumpy() for summary, _ in found], [norms.asnumpy() for _, norms in found]


def test_steps_are_the_same_with_the_same_dropout_masks():
    (plain, norms), (again, norms_again) = (summaries(recompute, 3) for recompute in (False, True))
    np.testing.assert_allclose(again, plain, rtol=1e-6)
    np.testing.assert_allclose(norms_again, norms, rtol=1e-5)
    assert np.all(np.array(norms) > 0)
    assert plain[0][SUMMARY.index("total")] != plain[1][SUMMARY.index("total")]


def test_a_weight_of_two_parts_has_the_gradients_of_both():
    (plain, norms), (again, norms_again) = (
        summaries(recompute, 2, training=Twice, dropout=0.0) for recompute in (False, True)
    )
    np.testing.assert_allclose(again, plain, rtol=1e-6)
    np.testing.assert_allclose(norms_again, norms, rtol=1e-5)


def test_statistics_move_once_a_step_and_not_at_all_where_it_is_not_finite():
    means = []
    for recompute in (False, True):
        network = TinyNetwork(norm=RunningMean())
        step = tiny_step(network=network, training=InParts, recompute=recompute)
        means.append([])
        for index in range(4):
            columns = SOURCE.batch(0, index)
            run(step, poisoned(columns) if index == 2 else columns)
            means[-1].append(network.norm.mean.asnumpy().copy())
    plain, again = np.array(means)
    np.testing.assert_allclose(again, plain, rtol=1e-5, atol=1e-7)
    assert np.array_equal(again[2], again[1])
    assert np.abs(again[3] - again[1]).min() > 1e-4


def test_a_training_network_without_parts_is_refused_in_words():
    with pytest.raises(UserError, match=r"train.recompute: TinyTraining has no parts\(\) to compute again"):
        tiny_step(recompute=True)


class Deep(nn.Cell):
    """Three parts of eight layers each on a map of 16 MB; what passes between two of them is one map."""

    term_names = ("loss",)
    layers = 8

    def __init__(self) -> None:
        super().__init__(auto_prefix=False)
        self.pixels = Pixels()
        self.scales = ms.ParameterTuple(
            [ms.Parameter(ms.Tensor(np.ones(1, np.float32)), name=f"scale.{part}") for part in range(3)]
        )

    def parts(self):
        runs = (self.first, self.second, self.third)
        return [Part(run, (scale,)) for run, scale in zip(runs[:2], self.scales)] + [Part(self.third)]

    def construct(self, images, sizes, labels, boxes, masks, present, exists):
        clip = {"frames": self.pixels(images, sizes)[0]}
        total, terms, _ = self.third(self.second(self.first((), clip), clip), clip)
        return total, terms

    def first(self, values, clip):
        return (self.through(ops.tile(clip["frames"].reshape(-1)[:4], (1 << 20,)), 0),)

    def second(self, values, clip):
        return (self.through(values[0], 1),)

    def third(self, values, clip):
        total = ops.square(self.through(values[0], 2)).mean()
        return total, total.reshape(1), ()

    def through(self, x, part):
        for _ in range(self.layers):
            x = ops.tanh(x * self.scales[part])
        return x


def deep_step(recompute: bool) -> tuple[float, float]:
    """The loss of one step, and the gigabytes that it added to the compiled graph at its peak."""
    ms.set_context(mode=ms.GRAPH_MODE)
    training = Deep()
    weights = assign_parameters(list(training.scales), [ParameterGroup("all", "", 1e-3, 0.0)])
    step = TrainStep(
        training=training,
        optimizer=build_optimizer("adamw", weights),
        factors=np.ones(3, np.float32),
        recompute=recompute,
    )
    columns = as_tensors(SOURCE.batch(0, 0))
    step.set_train(True).compile(*columns)
    before, stages = Stages(), Stages()
    before.end("compiled")
    loss = float(step(*columns)[0].asnumpy()[0])
    stages.end("step")
    return loss, stages.found[0].peak - before.found[0].after


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of a stage is read from Linux")
def test_a_step_in_parts_needs_less_memory():
    found = {}
    for way in ("plain", "again"):
        command = [sys.executable, "-m", "tests.training.test_recomputed_gradients", way]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[way] = json.loads(done.stdout.splitlines()[-1])
    assert found["again"][0] == pytest.approx(found["plain"][0], rel=1e-6)
    assert found["again"][1] < 0.6 * found["plain"][1], found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(deep_step(sys.argv[1] == "again")) + "\n")
