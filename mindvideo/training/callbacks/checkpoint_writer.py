"""Writes training states as a run goes, and the weights of its best evaluation and of its end."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from mindspore.train import Callback, RunContext

from mindvideo.run_folder import weights_of_epoch
from mindvideo.training.callbacks.step_report import report_of
from mindvideo.training.checkpoint import (
    BEST_WEIGHTS,
    LAST_WEIGHTS,
    CheckpointFolder,
    collect_state,
    network_weights,
    save_weights,
)
from mindvideo.training.train_step import TrainStep

_log = logging.getLogger("mindvideo.checkpoint")


class CheckpointWriter(Callback):
    """A state every ``every`` steps and at the end; the newest are kept. Only the first rank writes.

    ``facts`` is kept in each state beside the arrays, ``class_names`` (by category id) in the weights. ``best`` is the
    best evaluation so far: metric, value, step. ``keep_weights_every`` epochs the weights are kept for good.
    """

    def __init__(
        self,
        *,
        step: TrainStep,
        network: nn.Cell,
        folder: CheckpointFolder,
        output: Path,
        every: int,
        facts: dict[str, Any],
        class_names: Mapping[int, str] | None = None,
        keep_weights_every: int = 0,
        writes: bool = True,
    ) -> None:
        super().__init__()
        self.step = step
        self.network = network
        self.folder = folder
        self.output = output
        self.every = every
        self.facts = facts
        self.class_names = class_names or None
        self.keep_weights_every = keep_weights_every
        self.writes = writes
        self.without_gain: int = facts.get("without_gain", 0)  # evaluations in a row
        self.best: dict[str, Any] | None = facts.get("best")
        self.evaluation_left_out = False  # of the newest step, for a run that was asked to stop
        self.saved_at: int | None = None

    def on_train_step_end(self, run_context: RunContext) -> None:
        report = report_of(run_context)
        epoch, rest = divmod(report.step, self.facts["batches_per_epoch"])
        if self.writes and self.keep_weights_every and rest == 0 and epoch % self.keep_weights_every == 0:
            self.keep_weights(epoch)
        if report.step % self.every == 0 and not report.is_last:
            self.save(report.step)

    def keep_weights(self, epoch: int) -> None:
        path = weights_of_epoch(self.output, epoch)
        save_weights(path, self.weights(), class_names=self.class_names)
        _log.info("saved %s", path)

    def save(self, iteration: int) -> Path | None:
        """Write the present state as that of ``iteration`` finished steps."""
        if not self.writes:
            return None
        if self.saved_at == iteration:
            return self.folder.state_path(iteration)
        facts = {**self.facts, "iteration": iteration, "best": self.best, "without_gain": self.without_gain}
        facts["evaluation_left_out"] = self.evaluation_left_out
        path = self.folder.save(iteration, collect_state(self.step), facts)
        self.saved_at = iteration
        _log.info("saved %s", path)
        return path

    def save_before(self, failed_step: int) -> Path | None:
        """Write the state in front of a step of which nothing was applied but the count."""
        self.step.iteration.set_data(Tensor(failed_step - 1, ms.int32))
        return self.save(failed_step - 1)

    def save_last_weights(self) -> None:
        if self.writes:
            save_weights(self.output / LAST_WEIGHTS, self.weights(), class_names=self.class_names)
            _log.info("saved %s", self.output / LAST_WEIGHTS)

    def offer(self, *, metric: str, value: float, step: int) -> None:
        """Keep the weights if this evaluation is the best so far."""
        if not math.isfinite(value) or (self.best is not None and value <= self.best["value"]):
            self.without_gain += 1
            return
        self.without_gain = 0
        self.best = {"metric": metric, "value": value, "step": step}
        if self.writes:
            save_weights(self.output / BEST_WEIGHTS, self.weights(), class_names=self.class_names)
            _log.info("saved %s: %s %.4g is the best so far", self.output / BEST_WEIGHTS, metric, value)

    def weights(self) -> dict[str, np.ndarray]:
        """The weights that an evaluation uses: averaged ones where the run keeps an average."""
        average = self.step.average
        averages = {} if average is None else {p.name: a for p, a in zip(average.parameters, average.averages)}
        return network_weights(self.network, averages=averages)
