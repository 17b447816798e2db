"""Evaluates the network while it trains."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable

from mindspore import nn
from mindspore.train import Callback, RunContext

from mindvideo.errors import UserError
from mindvideo.training.callbacks.checkpoint_writer import CheckpointWriter
from mindvideo.training.callbacks.interruption import Abandoned, Interruption
from mindvideo.training.callbacks.step_log import StepLog
from mindvideo.training.callbacks.step_report import report_of
from mindvideo.training.train_step import TrainStep

_log = logging.getLogger("mindvideo.train")


class Evaluation(Callback):
    """Calls ``evaluate(network)`` every ``every`` steps and after the last one.

    The network is in evaluation mode, with its averaged weights where the run keeps an average. ``evaluate`` gives
    results by name; the one called ``metric`` decides which weights are the best. After ``patience`` evaluations in a
    row without a better one the run ends; 0 lets it go on. Every process evaluates, and sees the same results.
    """

    def __init__(
        self,
        *,
        evaluate: Callable[[nn.Cell], dict[str, float]],
        step: TrainStep,
        network: nn.Cell,
        every: int,
        metric: str,
        patience: int = 0,
        checkpoints: CheckpointWriter,
        log: StepLog | None,
        interruption: Interruption,
    ) -> None:
        super().__init__()
        self.evaluate = evaluate
        self.step = step
        self.network = network
        self.every = every
        self.metric = metric
        self.patience = patience
        self.ends_run = False
        self.checkpoints = checkpoints
        self.log = log
        self.interruption = interruption

    def on_train_step_end(self, run_context: RunContext) -> None:
        report = report_of(run_context)
        if report.is_last or report.step % self.every == 0:
            self.run(report.step)
            if self.ends_run:
                run_context.request_stop()

    def run(self, step_number: int) -> dict[str, float] | None:
        """The results, or None where a signal asked the run to stop: the checkpoint is then worth more."""
        began = time.perf_counter()
        average = self.step.average
        weights = contextlib.nullcontext() if average is None else average.swapped_in()
        self.network.set_train(False)
        try:
            with self.interruption.may_abandon(), weights:
                results = self.evaluate(self.network)
        except Abandoned:
            _log.warning("the evaluation of step %d is left for when the run goes on", step_number)
            self.checkpoints.evaluation_left_out = True
            return None
        finally:
            self.step.set_train(True)
        self.checkpoints.evaluation_left_out = False
        if self.metric not in results:
            raise UserError(f"train.best_metric is {self.metric!r}; the evaluation gives {', '.join(results)}")
        shown = ", ".join(f"{name} {value:.4g}" for name, value in results.items())
        _log.info("step %d evaluated in %.1f s: %s", step_number, time.perf_counter() - began, shown)
        if self.log is not None:
            self.log.record(step_number, "evaluation", results)
        self.checkpoints.offer(metric=self.metric, value=results[self.metric], step=step_number)
        if 0 < self.patience <= self.checkpoints.without_gain:
            self.ends_run = True
            _log.info("%d evaluations without a better %s: the run ends", self.checkpoints.without_gain, self.metric)
        return results
