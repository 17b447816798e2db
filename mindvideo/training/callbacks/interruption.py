"""SIGTERM and Ctrl-C end a run after the step in progress, with a checkpoint; a second one ends it at once."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator

import mindspore as ms
from mindspore import Parameter, Tensor
from mindspore.train import Callback, RunContext

from mindvideo.training.callbacks.step_report import report_of

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_log = logging.getLogger("mindvideo.train")


class Interruption(Callback):
    """Asks the run to stop when a signal came, on every rank after the same step.

    ``stop_request`` is the step's own parameter: it is summed over the processes inside the graph, so a signal that
    reaches one of them stops all. A process on its own stops right after the step in progress.
    """

    def __init__(self, *, stop_request: Parameter, world_size: int) -> None:
        super().__init__()
        self.stop_request = stop_request
        self.world_size = world_size
        self.signal: int | None = None
        self.stopped = False

    def on_train_step_end(self, run_context: RunContext) -> None:
        report = report_of(run_context)
        if report.stop_requested or (self.signal is not None and self.world_size == 1):
            self.stopped = True
            run_context.request_stop()
        elif self.signal is not None:
            self.stop_request.set_data(Tensor(1.0, ms.float32))

    def receive(self, number: int, _frame: object) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        # Unnamed: MindSpore turns a Ctrl-C that arrives while a graph runs into SIGTERM.
        _log.warning("asked to stop: finishing the step in progress, then saving; once more to stop at once")

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Inside the block the signals are taken; only a main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.receive) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
