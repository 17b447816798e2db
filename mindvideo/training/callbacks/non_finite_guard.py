"""Stops a run whose loss or gradients are not finite, and says which term, which clips and which parameters."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from mindspore.train import Callback, RunContext

from mindvideo.errors import UserError
from mindvideo.training.callbacks.step_report import StepReport, report_of
from mindvideo.training.loss_scale import SMALLEST_SCALE

_log = logging.getLogger("mindvideo.train")


class DivergedError(UserError):
    """The run cannot go on: a loss or a gradient is not finite."""


class NonFiniteGuard(Callback):
    """The graph has already left a step that is not finite out; this callback decides whether to go on.

    With dynamic loss scaling an overflow of the gradients is part of the search for the scale, so the run goes on
    until the scale is at its smallest. Anything else ends the run, with a checkpoint of the state before the step.
    ``save_before(step)`` writes it and returns its path, or None on a rank that does not write.
    """

    def __init__(
        self, *, parameter_names: Sequence[str], dynamic_scale: bool, save_before: Callable[[int], Path | None]
    ) -> None:
        super().__init__()
        self.parameter_names = tuple(parameter_names)
        self.dynamic_scale = dynamic_scale
        self.save_before = save_before

    def on_train_step_end(self, run_context: RunContext) -> None:
        report = report_of(run_context)
        if report.finite:
            return
        if self.dynamic_scale and math.isfinite(report.total) and report.loss_scale > SMALLEST_SCALE:
            _log.info("step %d: gradients overflowed at loss scale %g; step left out", report.step, report.loss_scale)
            return
        path = self.save_before(report.step)
        saved = f"; the state before it is in {path}" if path else ""
        raise DivergedError(
            f"step {report.step}: {self.culprits(report)} on clips {describe_clips(report)}. Nothing of this step was "
            f"applied{saved}. Look at these clips, or resume with a smaller optimizer.learning_rate"
        )

    def culprits(self, report: StepReport) -> str:
        terms = [f"{name} is {value}" for name, value in report.terms.items() if not math.isfinite(value)]
        if terms or not math.isfinite(report.total):
            return ", ".join(terms or [f"the total loss is {report.total}"])
        wrong = [name for name, ok in zip(self.parameter_names, np.isfinite(report.gradient_norms)) if not ok]
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return f"every loss is finite, but not the gradient of {', '.join(wrong[:3])}{more},"


def describe_clips(report: StepReport) -> str:
    return ", ".join(f"(video {video}, frame {frame})" for video, frame in report.clips)
