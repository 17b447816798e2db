"""The record of one step: losses by name, where its time went, which clips it saw. The other callbacks read it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import numpy as np
from mindspore.train import Callback, RunContext

from mindvideo.training.train_step import SUMMARY


@dataclasses.dataclass(frozen=True)
class StepReport:
    """One finished step. ``step`` counts from 1 over the whole run, resumed parts included."""

    step: int
    total_steps: int
    epoch: int
    epochs: int
    total: float
    terms: dict[str, float]
    gradient_norm: float
    learning_rate: float
    loss_scale: float
    finite: bool
    stop_requested: bool
    clips: tuple[tuple[int, int], ...]
    gradient_norms: np.ndarray
    seconds: dict[str, float]
    compiled: bool

    @property
    def is_last(self) -> bool:
        return self.step >= self.total_steps


@dataclasses.dataclass(frozen=True)
class Plan:
    """The length of a run and where this process takes it up. ``start`` steps are already done."""

    epochs: int
    batches_per_epoch: int
    total_steps: int
    start: int = 0


class StepReporter(Callback):
    """First of all callbacks: turns a step's outputs into a :class:`StepReport` in ``step_report``.

    A step's time is parted into ``data`` (waiting for the batch), ``step`` (the compiled graph, up to its results on
    the host) and ``other`` (all callbacks, of the step before, since this step's are still to run). The first step of
    a batch shape compiles the graph: ``step_compiles`` says so when it begins, and its report is marked, so that it
    enters no average.
    """

    def __init__(self, *, term_names: Sequence[str], learning_rate: float, plan: Plan) -> None:
        super().__init__()
        self.term_names = tuple(term_names)
        self.learning_rate = learning_rate
        self.plan = plan
        self.step = plan.start
        self.end_of_callbacks = EndOfCallbacks(self)
        self.totals = {"data": 0.0, "step": 0.0, "other": 0.0, "compile": 0.0}
        self._shapes: set[tuple[tuple[int, ...], ...]] = set()
        self._data = self._other = self._began = self._done = 0.0
        self._idle_since = time.perf_counter()

    def on_train_begin(self, run_context: RunContext) -> None:
        self._idle_since = time.perf_counter()

    def on_train_step_begin(self, run_context: RunContext) -> None:
        self._began = time.perf_counter()
        self._data = self._began - self._idle_since
        run_context.original_args().step_compiles = shapes_of(run_context) not in self._shapes

    def on_train_step_end(self, run_context: RunContext) -> None:
        run = run_context.original_args()
        summary, norms = (output.asnumpy() for output in run.net_outputs)
        self._done = time.perf_counter()
        self.step += 1
        shapes = shapes_of(run_context)
        head = dict(zip(SUMMARY, summary[: len(SUMMARY)].tolist()))
        run.step_report = StepReport(
            step=self.step,
            total_steps=self.plan.total_steps,
            epoch=(self.step - 1) // self.plan.batches_per_epoch + 1,
            epochs=self.plan.epochs,
            total=head["total"],
            terms=dict(zip(self.term_names, summary[len(SUMMARY) :].tolist())),
            gradient_norm=head["gradient_norm"],
            learning_rate=head["learning_rate_factor"] * self.learning_rate,
            loss_scale=head["loss_scale"],
            finite=head["finite"] > 0,
            stop_requested=head["stop_requests"] > 0,
            clips=tuple(map(tuple, run.train_dataset_element[-1].asnumpy().tolist())),
            gradient_norms=norms,
            seconds={"data": self._data, "step": self._done - self._began, "other": self._other},
            compiled=shapes not in self._shapes,
        )
        self.totals["compile" if run.step_report.compiled else "step"] += self._done - self._began
        self.totals["data"] += self._data
        self._shapes.add(shapes)

    def callbacks_ended(self) -> None:
        self._idle_since = time.perf_counter()
        self._other = self._idle_since - self._done
        self.totals["other"] += self._other


class EndOfCallbacks(Callback):
    """Last of all callbacks: tells the reporter that the waiting for data begins."""

    def __init__(self, reporter: StepReporter) -> None:
        super().__init__()
        self._reporter = reporter

    def on_train_step_end(self, run_context: RunContext) -> None:
        self._reporter.callbacks_ended()


def shapes_of(run_context: RunContext) -> tuple[tuple[int, ...], ...]:
    """Of the columns of the present batch: one compiled graph serves each."""
    return tuple(tuple(column.shape) for column in run_context.original_args().train_dataset_element)


def report_of(run_context: RunContext) -> StepReport:
    return run_context.original_args().step_report
