"""The training step as one graph: what an update is, and what stays as it is when there is none."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from mindvideo.errors import UserError
from mindvideo.execution.precision import apply_precision, chosen_precision
from mindvideo.modules.layers.norm import LayerNorm
from mindvideo.training.ema import WeightAverage
from mindvideo.training.loss_scale import LossScale, loss_scale_for
from mindvideo.training.running_statistics import running_statistics
from mindvideo.training.schedule import build_schedule
from mindvideo.training.train_step import SUMMARY
from tests.training.tiny_run import (
    WIDTH,
    TinyNetwork,
    TinySource,
    TinyTraining,
    as_tensors,
    parameter_values,
    tiny_batch,
    tiny_step,
)

SOURCE = TinySource(batches=20)


@pytest.fixture(autouse=True)
def graph_mode():
    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=ms.GRAPH_MODE)


def run(step: nn.Cell, columns: tuple) -> dict[str, float]:
    step.set_train()
    summary, _ = step(*as_tensors(columns))
    return dict(zip((*SUMMARY, *TinyTraining.term_names), summary.asnumpy().tolist()))


def poisoned(columns: tuple) -> tuple:
    columns = tuple(column.copy() for column in columns)
    columns[3][...] = np.nan
    return columns


def changed(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    return {name for name in before if before[name].tobytes() != after[name].tobytes()}


class RunningMean(nn.Cell):
    """A norm with a trained scale and a statistic that the forward pass moves."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = ms.Parameter(Tensor(np.ones(WIDTH, np.float32)), name="scale")
        self.mean = ms.Parameter(Tensor(np.zeros(WIDTH, np.float32)), name="mean", requires_grad=False)

    def construct(self, x):
        mean = 0.9 * self.mean + 0.1 * ms.ops.stop_gradient(x.mean(axis=0))
        ms.ops.assign(self.mean, mean)
        return (x - mean) * self.scale


def test_compiled_steps_equal_pynative_over_20_steps():
    losses = {}
    for mode in (ms.GRAPH_MODE, ms.PYNATIVE_MODE):
        ms.set_context(mode=mode)
        network = TinyNetwork(dropout=0.3)
        average = WeightAverage(network.trainable_params(), decay=0.9)
        step = tiny_step(network=network, clip_norm=0.5, average=average)
        losses[mode] = [run(step, SOURCE.batch(0, index)) for index in range(20)]
    for compiled, direct in zip(losses[ms.GRAPH_MODE], losses[ms.PYNATIVE_MODE]):
        assert compiled["total"] == pytest.approx(direct["total"], abs=1e-4)
        assert compiled["gradient_norm"] == pytest.approx(direct["gradient_norm"], rel=1e-4)
    assert losses[ms.GRAPH_MODE][-1]["total"] < 0.8 * losses[ms.GRAPH_MODE][0]["total"]


def test_each_batch_shape_compiles_once():
    network = TinyNetwork()
    step = tiny_step(network=network)
    rng = np.random.default_rng(1)
    sizes = [(4, 4), (4, 6), (4, 4), (4, 6), (4, 4)]
    graphs = []
    for index, size in enumerate(sizes):
        run(step, tiny_batch(rng, size=size))
        graphs.append(len(step.compile_cache))
        if index == 2:  # an evaluation in between must not cost a compilation of the step
            network.set_train(False)
            network(Tensor(tiny_batch(rng)[0]))
            step.set_train(True)
    assert graphs == [1, 2, 2, 2, 2]


def test_a_step_that_is_not_finite_leaves_everything_as_it_was():
    network = TinyNetwork(norm=RunningMean())
    assert [p.name for p in running_statistics(network)] == ["norm.mean"]
    average = WeightAverage([*network.trainable_params(), *running_statistics(network)], decay=0.9)
    step = tiny_step(network=network, average=average, clip_norm=0.1)
    for batch in (poisoned(SOURCE.batch(0, 0)), SOURCE.batch(0, 0), poisoned(SOURCE.batch(0, 1))):
        before = parameter_values(step)
        result = run(step, batch)
        moved = changed(before, parameter_values(step))
        if np.isnan(batch[3]).any():
            assert result["finite"] == 0
            assert np.isnan(result["loss_bbox"])
            assert moved == {"iteration"}
        else:
            assert result["finite"] == 1
            assert {"backbone.weight", "norm.mean", "average.norm.mean", "adamw.updates"} <= moved
    assert all(np.isfinite(value).all() for value in parameter_values(step).values())


class SquareRootAtZero(nn.Cell):
    """A finite loss whose gradient is not: the square root of nothing."""

    term_names = ("loss_root",)

    def __init__(self, network: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, images, sizes, labels, boxes, masks, present, exists):
        total = ms.ops.sqrt((self.network(images) * 0.0).sum())
        return total, total.reshape(1)


def test_a_gradient_that_is_not_finite_is_left_out_though_the_loss_is(monkeypatch):
    monkeypatch.setattr("tests.training.tiny_run.TinyTraining", lambda network, _: SquareRootAtZero(network))
    step = tiny_step()
    before = parameter_values(step)
    step.set_train()
    summary, norms = step(*as_tensors(SOURCE.batch(0, 0)))
    assert np.isfinite(summary.asnumpy()[0])
    assert summary.asnumpy()[SUMMARY.index("finite")] == 0
    assert not np.isfinite(norms.asnumpy()).all()
    assert changed(before, parameter_values(step)) == {"iteration"}


def test_accumulated_steps_are_one_update_with_the_mean_gradient():
    """Two steps of two clips with as many instances each equal one step of the four clips."""
    parts = [list(SOURCE.batch(0, index)) for index in range(2)]
    for part in parts:
        part[6] = np.array([[True, True, False], [True, False, False]])
    whole = tuple(np.concatenate(columns) for columns in zip(*parts))
    ms.set_context(mode=ms.PYNATIVE_MODE)
    together = tiny_step(network=TinyNetwork(dropout=0.0), clip_norm=0.5)
    expected = run(together, whole)
    ms.set_context(mode=ms.GRAPH_MODE)
    apart = tiny_step(network=TinyNetwork(dropout=0.0), clip_norm=0.5, accumulate=2)
    before = parameter_values(apart)
    run(apart, tuple(parts[0]))
    first = changed(before, parameter_values(apart))
    assert all(name.startswith(("accumulated", "iteration")) for name in first)
    run(apart, poisoned(tuple(parts[1])))  # left out, and not counted
    result = run(apart, tuple(parts[1]))
    assert result["gradient_norm"] == pytest.approx(expected["gradient_norm"], rel=1e-5)
    values, other = parameter_values(apart), parameter_values(together)
    for name in other:
        if name != "iteration":
            np.testing.assert_allclose(values[name], other[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert not any(values[name].any() for name in values if name.startswith("accumulated"))


@pytest.mark.usefixtures("operator_by_operator")
def test_gradients_are_clipped_to_the_global_norm():
    moved = {}
    for clip_norm in (0.0, 0.01):
        step = tiny_step(network=TinyNetwork(dropout=0.0), kind="sgd", clip_norm=clip_norm)
        before = parameter_values(step)
        norm = run(step, SOURCE.batch(0, 0))["gradient_norm"]
        after = parameter_values(step)
        moved[clip_norm] = {name: after[name] - before[name] for name in ("head.weight", "backbone.weight")}
    assert norm > 1  # the reported norm is the one before clipping
    for name, full in moved[0.0].items():
        # Less weight decay, which is not clipped; the parameters are of order 1 and the decay 1e-4.
        np.testing.assert_allclose(moved[0.01][name], full * 0.01 / norm, atol=3e-6)


@pytest.mark.usefixtures("operator_by_operator")
def test_average_of_weights_follows_and_swaps():
    network = TinyNetwork()
    average = WeightAverage(network.trainable_params(), decay=0.5)
    step = tiny_step(network=network, average=average)
    expected = parameter_values(step)["average.head.weight"]
    for index in range(3):
        run(step, SOURCE.batch(0, index))
        decay = min(0.5, (1 + index) / (10 + index))
        expected = decay * expected + (1 - decay) * network.head.weight.asnumpy()
    np.testing.assert_allclose(parameter_values(step)["average.head.weight"], expected, rtol=1e-5, atol=1e-6)
    own = network.head.weight.asnumpy().copy()
    with average.swapped_in():
        np.testing.assert_array_equal(network.head.weight.asnumpy(), average.averages[-2].asnumpy())
    np.testing.assert_array_equal(network.head.weight.asnumpy(), own)


def test_loss_scale_halves_at_an_overflow_and_grows_with_patience():
    scale = LossScale(8.0, dynamic=True, patience=3)
    seen = []
    for finite in (True, True, True, False, True, True, True, False, False, False, False, False, False):
        seen.append(float(scale(Tensor(finite)).asnumpy()))
    assert seen == [8, 8, 16, 8, 8, 8, 16, 8, 4, 2, 1, 1, 1]


@pytest.mark.usefixtures("operator_by_operator")
def test_scaled_loss_gives_the_same_update():
    """A power of two as the scale changes no digit of the gradients."""
    values = []
    for scale in (1.0, 1024.0):
        step = tiny_step(clip_norm=0.5, loss_scale=LossScale(scale))
        results = [run(step, SOURCE.batch(0, index)) for index in range(2)]
        values.append((results[-1]["total"], results[-1]["gradient_norm"]))
    assert values[0] == pytest.approx(values[1], rel=1e-6)


@pytest.mark.usefixtures("operator_by_operator")
def test_learning_rate_follows_the_schedule():
    factors = build_schedule("step", num_steps=4, steps_per_epoch=2, step_epochs=1, gamma=0.5)
    step = tiny_step(factors=factors)
    seen = [run(step, SOURCE.batch(0, index))["learning_rate_factor"] for index in range(5)]
    assert seen == [1, 1, 0.5, 0.5, 0.5]


def test_half_precision_multiplies_in_half_and_keeps_weights_and_losses_whole():
    losses = {}
    for precision in ("fp32", "fp16"):
        network = TinyNetwork(dropout=0.0)
        parts = apply_precision(network, precision, for_training=True)
        assert parts == ([] if precision == "fp32" else ["backbone", "sampling_offsets", "head"])
        step = tiny_step(network=network, loss_scale=loss_scale_for(precision, initial=2.0**12, patience=100))
        losses[precision] = [run(step, SOURCE.batch(0, index)) for index in range(6)]
        assert {p.dtype for p in network.get_parameters() if p.name != "iteration"} == {ms.float32}
    half, whole = losses["fp16"], losses["fp32"]
    assert half[0]["loss_scale"] == 2.0**12
    for a, b in zip(half, whole):
        assert a["total"] == pytest.approx(b["total"], rel=2e-2)
    assert any(abs(a["total"] - b["total"]) > 1e-6 for a, b in zip(half, whole)), "nothing was computed in half"


class Mixed(nn.Cell):
    """A dense layer, a norm of the project's own, a list of layers and a part of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(WIDTH, WIDTH)
        self.norm = LayerNorm(WIDTH)
        self.layers = nn.CellList([nn.Dense(WIDTH, WIDTH), nn.Dense(WIDTH, WIDTH)])
        self.pair = nn.SequentialCell(nn.Dense(WIDTH, WIDTH), nn.Dense(WIDTH, WIDTH))

    def construct(self, x):
        return self.pair(self.layers[1](self.norm(self.layers[0](self.dense(x)))))


def test_half_precision_stops_at_native_layers_and_returns_float32():
    network = Mixed()
    x = Tensor(np.random.default_rng(0).standard_normal((3, WIDTH)).astype(np.float32))
    whole = network(x).asnumpy()
    network = copy_of(network)
    assert apply_precision(network, "fp16", for_training=True) == ["dense", "layers.0", "layers.1", "pair"]
    half = network(x)
    assert half.dtype == ms.float32
    difference = np.abs(half.asnumpy() - whole).max()
    assert 1e-6 < difference < 2e-2 * np.abs(whole).max()
    ms.set_context(mode=ms.PYNATIVE_MODE)
    np.testing.assert_allclose(network(x).asnumpy(), half.asnumpy(), atol=1e-3)


def copy_of(network: Mixed) -> Mixed:
    """Another network with the same weights, since the first has its graph compiled."""
    other = Mixed()
    for mine, its in zip(other.get_parameters(), network.get_parameters()):
        mine.set_data(Tensor(its.asnumpy()))
    return other


def test_an_overflow_in_half_precision_lowers_the_scale_and_nothing_else():
    network = TinyNetwork(dropout=0.0)
    apply_precision(network, "fp16", for_training=True)
    step = tiny_step(network=network, loss_scale=loss_scale_for("fp16", initial=2.0**60, patience=100))
    before = parameter_values(step)
    result = run(step, SOURCE.batch(0, 0))
    assert result["finite"] == 0
    assert np.isfinite(result["total"])
    assert changed(before, parameter_values(step)) == {"iteration", "loss_scale.scale"}
    assert float(step.loss_scale.scale.asnumpy()) == 2.0**59


@pytest.mark.parametrize(("device", "expected"), [("CPU", "fp32"), ("GPU", "fp32"), ("Ascend", "fp16")])
def test_the_precision_of_a_device_where_nobody_chose(device, expected, monkeypatch):
    monkeypatch.setattr(ms, "get_context", lambda key: device)
    assert chosen_precision("auto") == expected
    assert chosen_precision("bf16") == "bf16"


def test_training_in_bf16_is_refused_on_cpu_in_words():
    with pytest.raises(UserError, match="on CPU bf16 is for inference only; choose fp32"):
        apply_precision(TinyNetwork(), "bf16", for_training=True)
