"""Trains: ``mindspore.train.Model`` over a training step, with the callbacks of this project around it."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Any

from mindspore import nn
from mindspore.train import Callback, Model, RunContext

from mindvideo.errors import UserError
from mindvideo.processes import LAUNCHED_VARIABLE, own_command
from mindvideo.run_folder import RunFolder
from mindvideo.training.callbacks.checkpoint_writer import CheckpointWriter
from mindvideo.training.callbacks.evaluation import Evaluation
from mindvideo.training.callbacks.interruption import Interruption
from mindvideo.training.callbacks.non_finite_guard import NonFiniteGuard
from mindvideo.training.callbacks.opponent_watch import OpponentWatch
from mindvideo.training.callbacks.progress_bar import ProgressBar
from mindvideo.training.callbacks.step_log import StepLog
from mindvideo.training.callbacks.step_report import Plan, StepReporter, report_of
from mindvideo.training.checkpoint import CheckpointFolder, restore_state
from mindvideo.training.distributed import current_ranks
from mindvideo.training.train_step import TrainStep
from mindvideo.training.wandb_run import WandbRun

_log = logging.getLogger("mindvideo.train")


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """A MindSpore data set with the columns of ClipBatch, one pass an epoch, and how to begin in the middle.

    ``seek(epoch, position)`` makes the first pass start at that batch of that epoch (both from 0). ``class_names``:
    category id -> name, as far as the sets say; the weights carry it.
    """

    dataset: Any
    batches_per_epoch: int
    seek: Callable[[int, int], None]
    class_names: Mapping[int, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TrainerOptions:
    """How often a run reports, saves and evaluates, in steps."""

    epochs: int
    max_steps: int | None = None
    log_every: int = 20
    checkpoint_every: int = 500
    keep_checkpoints: int = 3
    evaluate_every: int = 0
    best_metric: str = "AP"
    patience: int = 0  # evaluations in a row without a better one that end the run; 0 goes on
    keep_weights_every: int = 0  # epochs; 0 keeps none
    wandb: str = ""  # project of Weights & Biases


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended: ``finished`` or stopped by a signal, after ``steps`` steps in all."""

    finished: bool
    steps: int
    best: dict[str, Any] | None
    seconds: dict[str, float]


class Trainer:
    """One run: from its start, or from its newest whole checkpoint, to its end.

    ``network`` is the one inside ``step``'s training network, as users run it. ``evaluate(network)`` gives results by
    name. ``facts`` (JSON-able) is stored in every checkpoint; what ``facts`` calls ``seed``, ``batch_size`` and
    ``world_size`` must be the same when the run is resumed.
    """

    def __init__(
        self,
        *,
        step: TrainStep,
        network: nn.Cell,
        data: TrainingData,
        folder: RunFolder,
        options: TrainerOptions,
        term_names: tuple[str, ...],
        evaluate: Callable[[nn.Cell], dict[str, float]] | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        self.step = step
        self.network = network
        self.data = data
        self.folder = folder
        self.options = options
        self.term_names = term_names
        self.evaluate = evaluate
        self.ranks = current_ranks()
        self.facts = {"batches_per_epoch": data.batches_per_epoch, "world_size": self.ranks.world_size, **(facts or {})}
        self.checkpoints = CheckpointFolder(folder.path, keep=options.keep_checkpoints)
        self.total_steps = options.epochs * data.batches_per_epoch
        if options.max_steps is not None:
            self.total_steps = min(self.total_steps, options.max_steps)
        self.start = 0
        self.resumed = False
        self.evaluation_left_out = False

    def resume(self) -> int:
        """Take up the newest whole checkpoint of the run folder; returns how many steps are done.

        A run that was stopped before its first checkpoint begins again, which is the same.
        """
        self.resumed = True
        found = self.checkpoints.newest_good()
        if found is None:
            _log.warning("--resume: no checkpoint in %s yet; starting at the first step", self.checkpoints.path)
            return 0
        path, arrays, facts = found
        for name, value in self.facts.items():
            if facts.get(name) != value:
                raise UserError(
                    f"{path} was written with {name} {facts.get(name)}, this run has {value}: the clips would not "
                    "follow on from where it stopped. Resume with the same setting, or start anew with --weights"
                )
        restore_state(self.step, arrays, source=path)
        self.start = facts["iteration"]
        self.facts["best"], self.facts["without_gain"] = facts["best"], facts.get("without_gain", 0)
        self.evaluation_left_out = facts.get("evaluation_left_out", False)
        _log.info("resumed %s: %d of %d steps done", path, self.start, self.total_steps)
        return self.start

    def refuse_another_run(self) -> None:
        """A folder that holds a run is gone on with on purpose, or not at all."""
        if not self.resumed and self.checkpoints.states():
            raise UserError(f"{self.checkpoints.path} holds a run already: add --resume, or give another --output")

    def run(self) -> Outcome:
        """Train to the end, or until a signal."""
        plan = Plan(
            epochs=self.options.epochs,
            batches_per_epoch=self.data.batches_per_epoch,
            total_steps=self.total_steps,
            start=self.start,
        )
        self.refuse_another_run()
        if self.start >= self.total_steps:
            _log.info("nothing to do: all %d steps are done; raise schedule.epochs to go on", self.total_steps)
            return Outcome(finished=True, steps=self.start, best=self.facts.get("best"), seconds={})
        if 0 < self.options.patience <= self.facts.get("without_gain", 0):
            _log.info("nothing to do: the run ended early after step %d; raise train.patience to go on", self.start)
            return Outcome(finished=True, steps=self.start, best=self.facts.get("best"), seconds={})
        first_epoch, position = divmod(self.start, self.data.batches_per_epoch)
        self.data.seek(first_epoch, position)
        callbacks = _Callbacks.of(self, plan)
        if self.ranks.is_first:
            self.checkpoints.discard_after(self.start)
        try:
            with callbacks.interruption.listening():
                if self.evaluation_left_out and callbacks.evaluation is not None:
                    callbacks.evaluation.run(self.start)
                self._train(callbacks, first_epoch)
                return self._end(callbacks)
        finally:
            callbacks.close()

    def _train(self, callbacks: _Callbacks, first_epoch: int) -> None:
        model = Model(self.step)
        try:
            model.train(
                self.options.epochs,
                self.data.dataset,
                callbacks=callbacks.in_order(),
                dataset_sink_mode=False,
                initial_epoch=first_epoch,
            )
        except RuntimeError as error:
            raise mistake_in(error) or error from error

    def _end(self, callbacks: _Callbacks) -> Outcome:
        steps = callbacks.reporter.step
        ended_early = callbacks.evaluation is not None and callbacks.evaluation.ends_run
        finished = steps >= self.total_steps or ended_early
        path = callbacks.writer.save(steps)
        callbacks.writer.save_last_weights()
        if not finished and self.ranks.is_first:
            _log.warning("stopped after step %d of %d; state in %s", steps, self.total_steps, path)
            _log.warning("go on with: %s", resume_command(self.folder))
        return Outcome(
            finished=finished, steps=steps, best=callbacks.writer.best, seconds=dict(callbacks.reporter.totals)
        )


@dataclasses.dataclass(frozen=True)
class _Callbacks:
    """The callbacks of one run, in the order in which they see a finished step."""

    reporter: StepReporter
    guard: NonFiniteGuard
    opponent: OpponentWatch | None
    log: StepLog | None
    bar: ProgressBar | None
    evaluation: Evaluation | None
    writer: CheckpointWriter
    interruption: Interruption

    @classmethod
    def of(cls, trainer: Trainer, plan: Plan) -> _Callbacks:
        first = trainer.ranks.is_first
        step, options = trainer.step, trainer.options
        every, name = options.log_every, str(trainer.facts.get("config", "a network"))
        log = StepLog(folder=trainer.folder, every=every, start=plan.start, name=name) if first else None
        if log is not None and options.wandb:
            log.also = WandbRun(trainer.folder.path, project=options.wandb, name=name)
        writer = CheckpointWriter(
            step=step,
            network=trainer.network,
            folder=trainer.checkpoints,
            output=trainer.folder.path,
            every=options.checkpoint_every,
            facts=trainer.facts,
            class_names=trainer.data.class_names,
            keep_weights_every=options.keep_weights_every,
            writes=first,
        )
        interruption = Interruption(
            stop_request=step.stop_request,
            world_size=trainer.ranks.world_size,
            has_unsaved=lambda: reporter.step > (plan.start if writer.saved_at is None else writer.saved_at),
        )
        evaluation = None
        if trainer.evaluate is not None:
            evaluation = Evaluation(
                evaluate=trainer.evaluate,
                step=step,
                network=trainer.network,
                every=options.evaluate_every or trainer.total_steps,
                metric=options.best_metric,
                patience=options.patience,
                checkpoints=writer,
                log=log,
                interruption=interruption,
            )
        values = () if step.opponent is None else step.opponent.value_names
        reporter = StepReporter(
            term_names=(*trainer.term_names, *values), learning_rate=max(step.optimizer.learning_rates), plan=plan
        )
        return cls(
            reporter=reporter,
            guard=NonFiniteGuard(
                parameter_names=[p.name for p in step.weights],
                dynamic_scale=step.loss_scale.dynamic,
                save_before=writer.save_before,
            ),
            opponent=OpponentWatch(loss_name=values[0], every=every) if first and values else None,
            log=log,
            bar=ProgressBar(total_steps=plan.total_steps, start=plan.start) if first else None,
            evaluation=evaluation,
            writer=writer,
            interruption=interruption,
        )

    def in_order(self) -> list[Callback]:
        middle = (
            self.guard,
            self.opponent,
            self.log,
            self.bar,
            self.evaluation,
            self.writer,
            self.interruption,
            LastStep(),
        )
        present = [callback for callback in middle if callback is not None]
        return [self.reporter, self.interruption.end_of_graph, *present, self.reporter.end_of_callbacks]

    def close(self) -> None:
        for callback in (self.log, self.bar):
            if callback is not None:
                callback.close()


class LastStep(Callback):
    """Ends the run at its last step, which need not be the end of an epoch."""

    def on_train_step_end(self, run_context: RunContext) -> None:
        if report_of(run_context).is_last:
            run_context.request_stop()


def mistake_in(error: RuntimeError) -> UserError | None:
    """The mistake of the caller inside an error of the data pipeline, which wraps what a reader raised in its own."""
    found = re.search(r"UserError: (.+)", str(error))
    return UserError(found.group(1).strip()) if found else None


def resume_command(folder: RunFolder) -> str:
    """This process's own command with ``--resume`` and the run folder in it."""
    words = [word for word in sys.argv if word != "--resume"]
    if not any(word == "--output" or word.startswith("--output=") for word in words):
        words += ["--output", str(folder.path)]
    launched = os.environ.get(LAUNCHED_VARIABLE)
    if launched is not None:
        return f"{launched} {shlex.join([*words[1:], '--resume'])}"
    return own_command([*words, "--resume"])
