"""Every loss term by name: a line in the log, a record in metrics.jsonl, a point in TensorBoard."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path

from mindspore.train import Callback, RunContext

from mindvideo import compile_times
from mindvideo.files import write_text
from mindvideo.run_folder import METRICS, RunFolder
from mindvideo.training.callbacks.step_report import StepReport, report_of
from mindvideo.training.event_file import EventFile
from mindvideo.training.wandb_run import WandbRun

EVENTS_FOLDER = "tensorboard"
_log = logging.getLogger("mindvideo.train")


class Averages:
    """Means over the steps since the last reset. Steps that compiled or were not finite count for neither."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._values: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._steps = self._timed = 0

    def add(self, report: StepReport) -> None:
        if report.finite:
            self._steps += 1
            for name, value in {"loss": report.total, "gradient_norm": report.gradient_norm, **report.terms}.items():
                self._values[name] = self._values.get(name, 0.0) + value
        if not report.compiled:
            self._timed += 1
            for name, value in report.seconds.items():
                self._seconds[name] = self._seconds.get(name, 0.0) + value

    def values(self) -> dict[str, float]:
        return {name: value / self._steps for name, value in self._values.items()}

    def seconds(self) -> dict[str, float]:
        return {name: value / self._timed for name, value in self._seconds.items()}


class StepLog(Callback):
    """Averages over ``every`` steps and records them; the first rank's callback.

    ``name`` of the configuration, for which the time of compiling is remembered.
    """

    def __init__(self, *, folder: RunFolder, every: int, start: int = 0, name: str = "a network") -> None:
        super().__init__()
        self.folder = folder
        self.every = every
        forget_metrics_after(folder.path / METRICS, start)
        self.events = EventFile(folder.path / EVENTS_FOLDER, first_step=start + 1)
        self.also: WandbRun | None = None  # gets the records too
        self._averages = Averages()
        self._graph = f"{name} training"

    def on_train_step_begin(self, run_context: RunContext) -> None:
        run = run_context.original_args()
        if run.step_compiles:
            size = "x".join(map(str, run.train_dataset_element[0].shape[2:4]))
            _log.info("compiling the graph for batches of %s pixels (%s)", size, compile_times.about(self._graph))

    def on_train_step_end(self, run_context: RunContext) -> None:
        report = report_of(run_context)
        self._averages.add(report)
        if report.compiled:
            compile_times.remember(self._graph, report.seconds["step"])
            _log.info("step %d: graph compiled for a new batch shape (%.1f s)", report.step, report.seconds["step"])
        if report.step % self.every and not report.is_last:
            return
        values, seconds = self._averages.values(), self._averages.seconds()
        self._averages.reset()
        _log.info("%s", describe_progress(report, values, seconds))
        timing = {f"seconds_{name}": value for name, value in seconds.items()}
        rates = {"learning_rate": report.learning_rate, "loss_scale": report.loss_scale}
        self.record(report.step, "train", {"epoch": report.epoch, **values, **rates, **timing})

    def record(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Add a record of ``kind`` (train, evaluation) to both files."""
        # JSON has no NaN: a value that is not finite (a class without labels, say) is null.
        clean = {name: float(value) if math.isfinite(value) else None for name, value in values.items()}
        self.folder.append_metrics(kind=kind, step=step, **clean)
        scalars = {f"{kind}/{name}": float(value) for name, value in values.items()}
        self.events.scalars(step, scalars)
        if self.also is not None:
            self.also.scalars(step, scalars)

    def close(self) -> None:
        self.events.close()
        if self.also is not None:
            self.also.close()


def describe_progress(report: StepReport, values: Mapping[str, float], seconds: Mapping[str, float]) -> str:
    """``epoch 1/18 step 50/9000, 2 h 10 min left: loss 12.3, loss_ce 4.1, ... (0.9 s a step: data 0.1, other 0.0)``."""
    terms = ", ".join(f"{name} {value:.4g}" for name, value in values.items()) or "no finite step"
    line = f"epoch {report.epoch}/{report.epochs} step {report.step}/{report.total_steps}"
    if not seconds:
        return f"{line}: {terms}, lr {report.learning_rate:.3g}"
    whole = sum(seconds.values())
    left = describe_duration(whole * (report.total_steps - report.step))
    split = ", ".join(f"{name} {value:.3f}" for name, value in seconds.items())
    return f"{line}, {left} left: {terms}, lr {report.learning_rate:.3g} ({whole:.3g} s a step: {split})"


def describe_duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def forget_metrics_after(path: Path, step: int) -> None:
    """Drop records of steps that a resumed run will do again, and a last line that a kill cut short."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            done = json.loads(line).get("step", 0)
        except (json.JSONDecodeError, AttributeError, RecursionError):
            continue  # cut short by a kill, or written by something else
        if isinstance(done, (int, float)) and done <= step:
            kept.append(line)
    write_text(path, "".join(f"{line}\n" for line in kept))
