"""SIGTERM and Ctrl-C end a run after the step in progress, with a checkpoint; a second one ends it at once.

Where no step is in progress (a graph compiles, data workers start) there is nothing to finish: the run ends within
ten seconds, and the newest checkpoint is what it goes on from.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import mindspore as ms
from mindspore import Parameter, Tensor
from mindspore.train import Callback, RunContext

from mindvideo.training import last_resort
from mindvideo.training.callbacks.step_report import report_of, shapes_of

SIGNALS = (signal.SIGTERM, signal.SIGINT)
INTERRUPTED = 130  # exit code
_log = logging.getLogger("mindvideo.train")


class Abandoned(BaseException):
    """Raised by a signal inside something that may be left unfinished; no handler of mere errors catches it."""


class Interruption(Callback):
    """Asks the run to stop when a signal came, on every rank after the same step.

    ``stop_request`` is the step's own parameter: it is summed over the processes inside the graph, so a signal that
    reaches one of them stops all. A process on its own stops right after the step in progress. ``has_unsaved()``:
    whether steps were done that no checkpoint holds.
    """

    def __init__(self, *, stop_request: Parameter, world_size: int, has_unsaved: Callable[[], bool]) -> None:
        super().__init__()
        self.stop_request = stop_request
        self.world_size = world_size
        self.has_unsaved = has_unsaved
        self.signal: int | None = None
        self.stopped = False
        self._asked_at = 0.0
        self._compiled: set[tuple[tuple[int, ...], ...]] = set()
        self._preparing = True  # data workers start, or a graph compiles
        self._may_abandon = False
        self._pipe: int | None = None
        self.end_of_graph = EndOfGraph(self)

    def on_train_step_begin(self, run_context: RunContext) -> None:
        """A step of a new shape compiles first, which is not worth waiting for."""
        self._preparing = shapes_of(run_context) not in self._compiled
        if not self._preparing:
            self._mark(last_resort.STEP_BEGINS)

    def on_train_step_end(self, run_context: RunContext) -> None:
        report = report_of(run_context)
        if report.stop_requested or (self.signal is not None and self.world_size == 1):
            self.stopped = True
            run_context.request_stop()
        elif self.signal is not None:
            self.stop_request.set_data(Tensor(1.0, ms.float32))

    def graph_ended(self, run_context: RunContext) -> None:
        """The work until the next step (saving, evaluating) is not waited for without end."""
        self._compiled.add(shapes_of(run_context))
        self._preparing = False
        self._mark(last_resort.STEP_ENDS)

    @contextlib.contextmanager
    def may_abandon(self) -> Iterator[None]:
        """Inside the block a signal raises :class:`Abandoned`: it can be left in the middle, and the run then saves."""
        self._may_abandon = True
        try:
            if self.signal is not None:
                raise Abandoned
            yield
        finally:
            self._may_abandon = False

    def _mark(self, what: int) -> None:
        if self._pipe is not None:
            with contextlib.suppress(OSError):  # the watching process was killed: signals still work without it
                os.write(self._pipe, bytes([what]))

    def receive(self, number: int, _frame: object) -> None:
        now = time.monotonic()
        if self.signal is not None:
            if now - self._asked_at > last_resort.SAME_REQUEST_SECONDS:
                leave("asked twice to stop: ending at once")
            return
        self.signal, self._asked_at = number, now
        if self._preparing and self.world_size == 1 and not self.has_unsaved():
            leave("asked to stop: no step has been done since the newest checkpoint, so there is nothing to save")
        # Unnamed: MindSpore turns a Ctrl-C that arrives while a graph runs into SIGTERM.
        _log.warning("asked to stop: finishing the step in progress, then saving; once more to stop at once")
        if self._may_abandon:
            raise Abandoned

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Inside the block the signals are taken; only a main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        with self._watched():
            before = {number: signal.signal(number, self.receive) for number in SIGNALS}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """A small process beside this one ends it where it cannot take a signal itself."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        command = [sys.executable, "-I", "-S", last_resort.__file__, str(os.getpid())]
        watcher = subprocess.Popen(command, stdin=reading, start_new_session=True)
        os.close(reading)
        before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._pipe = writing
        try:
            yield
        finally:
            self._pipe = None
            signal.set_wakeup_fd(before)
            os.close(writing)
            try:
                watcher.wait(timeout=2)
            except subprocess.TimeoutExpired:  # something that this process forked holds the pipe
                watcher.kill()
                watcher.wait()


class EndOfGraph(Callback):
    """Stands before the callbacks that take time, so that these do not count as the step."""

    def __init__(self, interruption: Interruption) -> None:
        super().__init__()
        self._interruption = interruption

    def on_train_step_end(self, run_context: RunContext) -> None:
        self._interruption.graph_ended(run_context)


def leave(reason: str) -> None:
    """End this process here and now: its data workers end when their pipes close, half files are never renamed."""
    _log.warning("%s; go on with --resume", reason)
    for handler in logging.getLogger("mindvideo").handlers:
        handler.flush()
    sys.stderr.flush()
    os._exit(INTERRUPTED)
