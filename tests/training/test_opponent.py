"""Two players in one step: each learns from its own loss with its own optimiser, and neither spoils the other."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindvideo.training.callbacks.opponent_watch import OpponentWatch
from mindvideo.training.train_step import SUMMARY
from mindvideo.training.trainer import TrainerOptions
from tests.training.tiny_run import (
    TinyNetwork,
    TinyPlayer,
    TinySource,
    as_tensors,
    parameter_values,
    tiny_step,
    tiny_trainer,
)

SOURCE = TinySource(batches=20)


@pytest.fixture(autouse=True)
def graph_mode():
    ms.set_context(mode=ms.GRAPH_MODE)


@pytest.fixture(scope="module")
def step() -> nn.Cell:
    return tiny_step(network=TinyNetwork(dropout=0.0), adversarial=True, clip_norm=0.5).set_train()


@pytest.fixture(autouse=True)
def as_it_began(request: pytest.FixtureRequest):
    """One compiled step serves several tests."""
    if "step" not in request.fixturenames:
        yield
        return
    shared = request.getfixturevalue("step")
    before = parameter_values(shared)
    yield
    for parameter in shared.get_parameters():
        parameter.set_data(ms.Tensor(before[parameter.name]))


def run(step: nn.Cell, columns: tuple) -> dict[str, float]:
    summary, _ = step(*as_tensors(columns))
    names = (*SUMMARY, "loss_bbox", "loss_square", "loss_adversarial", *TinyPlayer.value_names)
    return dict(zip(names, summary.asnumpy().tolist(), strict=True))


def moved(before: dict[str, np.ndarray], step: nn.Cell) -> set[str]:
    after = parameter_values(step)
    return {name for name in before if before[name].tobytes() != after[name].tobytes()}


def is_of_opponent(name: str) -> bool:
    return name.startswith("opponent.")


def test_both_learn_and_each_from_its_own_loss(step):
    weights = {p.name: p.asnumpy().copy() for p in step.opponent.weights}
    before = parameter_values(step)
    result = run(step, SOURCE.batch(0, 0))
    assert result["finite"] == 1 and result["opponent_loss"] > 0
    changed = moved(before, step)
    assert {"opponent.head.weight", "opponent.adamw.updates", "head.weight", "adamw.updates"} <= changed
    first = {name: value for name, value in parameter_values(step).items() if "first_moment" in name}
    player = TinyPlayer()
    for parameter in player.get_parameters():
        parameter.set_data(ms.Tensor(weights[f"opponent.{parameter.name}"]))
    # The first moment after one step is a tenth of the clipped gradient: here that of its own loss, by hand.
    made, real = hand_made_material(before)
    weights = ms.ParameterTuple(player.get_parameters())
    _, gradients = ms.value_and_grad(player, None, weights, has_aux=True)(made, real)
    norm = np.sqrt(sum(float((gradient.asnumpy() ** 2).sum()) for gradient in gradients))
    factor = 0.1 * min(1.0, 0.5 / (norm + 1e-6))
    for parameter, gradient in zip(player.get_parameters(), gradients):
        got = first[f"opponent.adamw.first_moment.opponent.{parameter.name}"]
        np.testing.assert_allclose(got, factor * gradient.asnumpy(), rtol=1e-4, atol=1e-7)


def hand_made_material(before: dict[str, np.ndarray]) -> tuple[ms.Tensor, ms.Tensor]:
    """Predicted and true boxes of the first batch, with the weights of before the step."""
    network = TinyNetwork(dropout=0.0)
    for parameter in network.get_parameters():
        parameter.set_data(ms.Tensor(before[parameter.name]))
    columns = SOURCE.batch(0, 0)
    return network(ms.Tensor(columns[0])), ms.Tensor(columns[3])


def test_nan_in_the_opponent_never_reaches_the_network(step):
    weight = step.opponent.weights[0]
    weight.set_data(ms.Tensor(np.full(weight.shape, np.nan, np.float32)))
    before = parameter_values(step)
    result = run(step, SOURCE.batch(0, 0))
    assert result["finite"] == 0 and np.isnan(result["loss_adversarial"])
    assert moved(before, step) == {"iteration"}


def test_an_opponent_that_cannot_learn_from_a_step_stays_and_the_network_goes_on(step):
    columns = list(SOURCE.batch(0, 0))
    columns[1] = np.full_like(columns[1], -1)  # the tiny player's word for a loss that is not finite
    before = parameter_values(step)
    result = run(step, tuple(columns))
    assert result["finite"] == 1 and not np.isfinite(result["opponent_loss"])
    changed = moved(before, step)
    assert "head.weight" in changed and not any(is_of_opponent(name) for name in changed)


def test_a_step_that_is_left_out_is_left_out_for_both(step):
    columns = tuple(column.copy() for column in SOURCE.batch(0, 0))
    columns[3][...] = np.nan
    before = parameter_values(step)
    assert run(step, columns)["finite"] == 0
    assert moved(before, step) == {"iteration"}


def test_an_opponent_that_has_won_leaves_a_finite_loss(step):
    bias = next(p for p in step.opponent.weights if p.name.endswith("bias"))
    bias.set_data(ms.Tensor(np.full(bias.shape, -200.0, np.float32)))
    for index in range(3):
        result = run(step, SOURCE.batch(0, index))
        assert result["finite"] == 1 and result["loss_adversarial"] > 50


def test_accumulated_steps_are_one_update_of_the_opponent_too():
    parts = [list(SOURCE.batch(0, index)) for index in range(2)]
    for part in parts:
        part[6] = np.array([[True, True, False], [True, False, False]])
    whole = tuple(np.concatenate(columns) for columns in zip(*parts))
    ms.set_context(mode=ms.PYNATIVE_MODE)
    together = tiny_step(network=TinyNetwork(dropout=0.0), adversarial=True, clip_norm=0.5).set_train()
    run(together, whole)
    ms.set_context(mode=ms.GRAPH_MODE)
    apart = tiny_step(network=TinyNetwork(dropout=0.0), adversarial=True, clip_norm=0.5, accumulate=2).set_train()
    before = parameter_values(apart)
    run(apart, tuple(parts[0]))
    assert not {name for name in moved(before, apart) if "accumulated" not in name} - {"iteration"}
    run(apart, tuple(parts[1]))
    after = parameter_values(apart)
    for name, value in parameter_values(together).items():
        if name != "iteration":
            np.testing.assert_allclose(after[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_resumed_run_of_two_players_ends_at_the_same_bits(tmp_path: Path):
    """Operator by operator: it is about what is kept, and one player's compiled run is in test_trainer.py."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    ends = {}
    for name, stops in (("through", ()), ("resumed", (7,))):
        for max_steps in (*stops, None):
            network = TinyNetwork(dropout=0.3)
            step = tiny_step(network=network, adversarial=True, clip_norm=1.0)
            options = TrainerOptions(epochs=3, max_steps=max_steps, log_every=3, checkpoint_every=100)
            trainer = tiny_trainer(tmp_path / name, step=step, network=network, options=options)
            if stops and max_steps is None:
                assert trainer.resume() == 7
            assert trainer.run().finished
        ends[name] = parameter_values(step)
    for place, value in ends["through"].items():
        np.testing.assert_array_equal(ends["resumed"][place], value, err_msg=place)
    assert '"opponent_loss"' in (tmp_path / "through" / "metrics.jsonl").read_text()


def test_the_log_says_when_the_opponent_wins_or_could_not_learn(caplog):
    watch = OpponentWatch(loss_name="opponent_loss", every=2)
    caplog.set_level(logging.WARNING, logger="mindvideo.train")
    logging.getLogger("mindvideo").propagate = True
    said = []
    for number, loss in enumerate([0.5, 0.5, 1e-5, 1e-6, 1e-7, 1e-7, np.inf, 0.5], start=1):
        report = SimpleNamespace(step=number, terms={"opponent_loss": loss}, is_last=False)
        run = SimpleNamespace(original_args=lambda report=report: SimpleNamespace(step_report=report))
        caplog.clear()
        watch.on_train_step_end(run)
        said.append([record.getMessage().split(": ")[1][:20] for record in caplog.records])
    assert said == [[], [], [], ["the opponent wins ou"], [], [], [], ["opponent_loss was no"]]
