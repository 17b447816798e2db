"""A whole run through ``mindspore.train.Model``: what it reports, keeps, and does when it is stopped."""

from __future__ import annotations

import json
import logging
import os
import signal

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mindvideo.errors import UserError
from mindvideo.execution.precision import apply_precision
from mindvideo.run_folder import kept_weights
from mindvideo.training.callbacks.non_finite_guard import DivergedError
from mindvideo.training.callbacks.step_log import describe_duration, forget_metrics_after
from mindvideo.training.checkpoint import CheckpointFolder
from mindvideo.training.loss_scale import loss_scale_for
from mindvideo.training.trainer import TrainerOptions
from tests.training.tiny_run import (
    H,
    T,
    TinyNetwork,
    TinySource,
    W,
    parameter_values,
    tiny_step,
    tiny_trainer,
)

OPTIONS = TrainerOptions(epochs=4, log_every=3, checkpoint_every=4, evaluate_every=10)
FRAMES = Tensor(np.full((1, T, H, W, 3), 200, np.uint8))


@pytest.fixture(autouse=True)
def settings(caplog):
    ms.set_context(mode=ms.GRAPH_MODE)
    logging.getLogger("mindvideo").propagate = True
    caplog.set_level("INFO", logger="mindvideo")


class Evaluate:
    """The mean box as the score, or given values in turn; remembers whether it saw a network in evaluation mode."""

    def __init__(self, *values: float) -> None:
        self.values = list(values)
        self.modes: list[bool] = []

    def __call__(self, network) -> dict[str, float]:
        self.modes.append(network.training)
        outputs = float(network(FRAMES).asnumpy().mean())
        return {"AP": self.values.pop(0) if self.values else outputs, "mean": outputs}


def assert_same_bits(left, right):
    left, right = parameter_values(left.step), parameter_values(right.step)
    assert set(left) == set(right)
    different = [name for name in left if left[name].tobytes() != right[name].tobytes()]
    assert not different


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """A run of 20 steps that nothing stopped."""
    ms.set_context(mode=ms.GRAPH_MODE)
    folder = tmp_path_factory.mktemp("whole")
    evaluate = Evaluate(30.0, 20.0)
    trainer = tiny_trainer(folder, options=OPTIONS, evaluate=evaluate)
    outcome = trainer.run()
    return folder, trainer, outcome, evaluate


def test_what_a_run_leaves_behind(whole_run):
    folder, trainer, outcome, evaluate = whole_run
    assert (outcome.finished, outcome.steps) == (True, 20)
    assert outcome.best == {"metric": "AP", "value": 30.0, "step": 10}
    assert evaluate.modes == [False, False]
    assert trainer.step.training
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        "step_00000012.state", "step_00000016.state", "step_00000020.state"
    ]  # fmt: skip
    last, best = (ms.load_checkpoint(str(folder / name)) for name in ("last.ckpt", "best.ckpt"))
    averages = parameter_values(trainer.step)
    np.testing.assert_array_equal(last["head.weight"].asnumpy(), averages["average.head.weight"])
    assert np.abs(best["head.weight"].asnumpy() - last["head.weight"].asnumpy()).max() > 0


def test_every_term_is_recorded_by_name(whole_run):
    folder, *_ = whole_run
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    train = [record for record in records if record["kind"] == "train"]
    assert [record["step"] for record in train] == [3, 6, 9, 12, 15, 18, 20]
    assert [record["epoch"] for record in train] == [1, 2, 2, 3, 3, 4, 4]
    for record in train:
        assert record["loss"] == pytest.approx(record["loss_bbox"] + 2 * record["loss_square"], rel=1e-5)
        assert {"gradient_norm", "learning_rate", "seconds_data", "seconds_step", "seconds_other"} <= set(record)
    assert train[-1]["loss"] < train[0]["loss"]
    assert [(r["step"], r["AP"]) for r in records if r["kind"] == "evaluation"] == [(10, 30.0), (20, 20.0)]
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    for name in ("loss", "loss_bbox", "learning_rate", "seconds_data"):
        found = [(event.step, event.value) for event in events.Scalars(f"train/{name}")]
        assert found == [(record["step"], pytest.approx(record[name], rel=1e-6)) for record in train]
    assert [event.value for event in events.Scalars("evaluation/AP")] == [30.0, 20.0]


@pytest.mark.parametrize("stop_after", [7, 10])
def test_a_resumed_run_has_the_same_bits(whole_run, tmp_path, stop_after):
    """Stopped in the middle and at the end of an epoch, by SIGTERM, and taken up by a trainer built anew."""
    _, whole, outcome, _ = whole_run
    source = TinySource()
    first = tiny_trainer(tmp_path, source=source, options=OPTIONS, evaluate=Evaluate(30.0))
    stop_at_step(first, stop_after)
    stopped = first.run()
    assert (stopped.finished, stopped.steps) == (False, stop_after)
    # Stopped at step 10, whose evaluation is then left for the run that goes on.
    second = tiny_trainer(tmp_path, options=OPTIONS, evaluate=Evaluate(30.0, 20.0))
    assert second.resume() == stop_after
    result = second.run()
    assert (result.steps, result.best) == (20, outcome.best)
    assert_same_bits(second, whole)
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


def stop_at_step(trainer, step: int, number: int = signal.SIGTERM) -> None:
    """Send a signal to this process while that step is in progress."""
    construct = trainer.step.__class__.__call__
    calls = {"count": 0}

    class Signalling(trainer.step.__class__):
        def __call__(self, *inputs):
            calls["count"] += 1
            outputs = construct(self, *inputs)
            if calls["count"] == step:
                os.kill(os.getpid(), number)
            return outputs

    trainer.step.__class__ = Signalling


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, caplog):
    before = signal.getsignal(signal.SIGINT)  # ignored, where a shell runs this in the background
    trainer = tiny_trainer(tmp_path)
    stop_at_step(trainer, 2, signal.SIGINT)
    assert trainer.run().steps == 2
    assert [path.name for path in trainer.checkpoints.states()] == ["step_00000002.state"]
    assert "asked to stop: finishing the step in progress" in caplog.text
    assert f"compiling the graph for batches of {H}x{W} pixels" in caplog.text
    assert f"--output {tmp_path} --resume" in caplog.text
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(UserError, match="holds a run already: add --resume"):
        tiny_trainer(tmp_path).run()


@pytest.mark.usefixtures("operator_by_operator")
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    """The message names the terms and the clips; the checkpoint is of the state before, and is the next start."""
    source = TinySource()
    source.poison = 6
    trainer = tiny_trainer(tmp_path, source=source)
    with pytest.raises(DivergedError) as caught:
        trainer.run()
    message = str(caught.value)
    assert message.startswith("step 7: loss_bbox is nan, loss_square is nan on clips (video 110, frame 7), (video 111,")
    assert str(trainer.checkpoints.state_path(6)) in message
    healthy = tiny_trainer(tmp_path)
    assert healthy.resume() == 6
    reference = tiny_trainer(tmp_path / "reference", options=TrainerOptions(epochs=4, max_steps=6))
    reference.run()
    assert_same_bits(healthy, reference)


def test_half_precision_searches_its_scale_and_goes_on(tmp_path, caplog):
    network = TinyNetwork(dropout=0.0)
    apply_precision(network, "fp16", for_training=True)
    step = tiny_step(network=network, loss_scale=loss_scale_for("fp16", initial=2.0**24, patience=1000))
    trainer = tiny_trainer(tmp_path, network=network, step=step)
    assert trainer.run().finished
    assert "gradients overflowed at loss scale 1.67772e+07; step left out" in caplog.text
    assert 1 <= float(step.loss_scale.scale.asnumpy()) < 2.0**24
    assert float(step.optimizer.updates.asnumpy()) < 20


@pytest.mark.usefixtures("operator_by_operator")
def test_resume_refuses_another_order_of_clips(tmp_path):
    tiny_trainer(tmp_path, options=TrainerOptions(epochs=1)).run()
    with pytest.raises(UserError, match="written with batches_per_epoch 5, this run has 4"):
        tiny_trainer(tmp_path, source=TinySource(batches=4)).resume()
    with pytest.raises(UserError, match="written with seed 0, this run has 3"):
        tiny_trainer(tmp_path, source=TinySource(seed=3)).resume()


def test_resume_falls_back_past_a_damaged_checkpoint(whole_run, tmp_path, caplog):
    _, whole, *_ = whole_run
    options = TrainerOptions(epochs=4, max_steps=10, checkpoint_every=4)
    tiny_trainer(tmp_path, options=options).run()
    newest = CheckpointFolder(tmp_path).states()[0]
    newest.write_bytes(newest.read_bytes()[:-100])
    again = tiny_trainer(tmp_path, options=OPTIONS)
    assert again.resume() == 8
    assert f"{newest}" in caplog.text
    again.run()
    assert_same_bits(again, whole)


@pytest.mark.usefixtures("operator_by_operator")
def test_resume_of_a_finished_run_does_nothing(tmp_path, caplog):
    options = TrainerOptions(epochs=1)
    tiny_trainer(tmp_path, options=options).run()
    again = tiny_trainer(tmp_path, options=options)
    again.resume()
    assert again.run().steps == 5
    assert "nothing to do" in caplog.text


@pytest.mark.usefixtures("operator_by_operator")
def test_evaluation_without_the_metric_is_a_mistake(tmp_path):
    options = TrainerOptions(epochs=1, best_metric="AP75")
    with pytest.raises(UserError, match="best_metric is 'AP75'; the evaluation gives AP, mean"):
        tiny_trainer(tmp_path, options=options, evaluate=Evaluate()).run()


@pytest.mark.usefixtures("operator_by_operator")
def test_a_run_ends_when_it_gains_no_more_and_keeps_the_weights_of_its_epochs(tmp_path, caplog):
    settings = {"log_every": 5, "evaluate_every": 5, "patience": 2, "keep_weights_every": 2}
    kept = tmp_path / "kept"
    tiny_trainer(kept, options=TrainerOptions(epochs=9, **settings), evaluate=Evaluate(3.0, 2.0, 3.0)).run()
    assert "2 evaluations without a better AP: the run ends" in caplog.text
    assert [path.name for path in kept_weights(kept)] == ["epoch_002.ckpt"]
    again = tiny_trainer(kept, options=TrainerOptions(epochs=9, **settings), evaluate=Evaluate())
    assert again.resume() == 15
    assert again.run().steps == 15 and "nothing to do: the run ended early after step 15" in caplog.text
    further = TrainerOptions(epochs=9, **{**settings, "patience": 3})
    outcome = tiny_trainer(kept, options=further, evaluate=Evaluate(1.0))
    outcome.resume()
    assert outcome.run().steps == 20 and "3 evaluations without a better AP" in caplog.text
    assert [path.name for path in kept_weights(kept)] == ["epoch_002.ckpt", "epoch_004.ckpt"]


def test_records_after_the_resumed_step_and_cut_lines_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 3}\n{"step": 4}\n{"step": 5}\n{"step": 6, "lo')
    forget_metrics_after(path, 4)
    assert path.read_text() == '{"step": 3}\n{"step": 4}\n'


def test_durations():
    assert [describe_duration(s) for s in (5, 65, 7300)] == ["5 s", "1 min 5 s", "2 h 1 min"]
