"""Reading, inference and writing side by side: each on its own thread, with a bounded number of items between them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 2.0


class ReadAhead(Generic[Item]):
    """Iterate over ``items`` while a thread fetches the next ones, at most ``depth`` of them ahead.

    An error of the source is raised where the consumer would have met it. Leaving the ``with`` block stops the thread;
    it has let go of the source by then, unless the source gives no sign of life for ``_PATIENCE_SECONDS`` (a camera
    or a pipe that stalls): then the thread is left to end with the process.

    ``stop``: once set, iterating ends at the next item, or after ``_PATIENCE_SECONDS`` without one. ``interrupt`` makes
    a source that waits for data come to its end.
    """

    _END: Any = object()

    def __init__(
        self,
        items: Iterable[Item],
        *,
        depth: int,
        stop: threading.Event | None = None,
        interrupt: Callable[[], None] = lambda: None,
    ) -> None:
        self._items, self._interrupt = items, interrupt
        self._stop = threading.Event() if stop is None else stop
        self._queue: queue.Queue = queue.Queue(maxsize=depth)
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._fetch, name="read-ahead", daemon=True)

    def __enter__(self) -> ReadAhead[Item]:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        self._interrupt()
        given_up = time.monotonic() + _PATIENCE_SECONDS
        while self._thread.is_alive() and time.monotonic() < given_up:
            _drain(self._queue)
            self._thread.join(_POLL_SECONDS)

    def __iter__(self) -> Iterator[Item]:
        while (item := self._next()) is not self._END:
            yield item
            if self._stop.is_set():
                return
        if self._error is not None:
            raise self._error

    def _next(self) -> Any:
        """The next item; the end where nothing arrives though it is time to stop."""
        waited = 0.0
        while True:
            try:
                return self._queue.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if not self._stop.is_set():
                    continue
                self._interrupt()
                waited += _POLL_SECONDS
                if waited >= _PATIENCE_SECONDS:
                    return self._END

    def _fetch(self) -> None:
        try:
            for item in self._items:
                if not self._offer(item):
                    return
        except BaseException as error:  # noqa: BLE001  handed to the consumer, who raises it
            self._error = error
        self._offer(self._END)

    def _offer(self, item: object) -> bool:
        while not self._stopping.is_set():
            try:
                self._queue.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False


class WriteAfter(Generic[Item]):
    """Hand items to ``consume`` on a thread of its own; at most ``depth`` wait, then ``put`` waits too.

    An error of ``consume`` is raised by the next ``put`` or ``flush``; later items are dropped.
    """

    _END: Any = object()

    def __init__(self, consume: Callable[[Item], None], *, depth: int) -> None:
        self._consume = consume
        self._queue: queue.Queue = queue.Queue(maxsize=depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="write-after", daemon=True)

    def __enter__(self) -> WriteAfter[Item]:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Everything that was put is still written, also when the block is left by an error or an interruption."""
        if self._thread.is_alive():
            self._queue.put(self._END)
            self._thread.join()

    def put(self, item: Item) -> None:
        self._raise_error()
        self._queue.put(item)

    def flush(self) -> None:
        """Wait until everything is written, and end."""
        self._queue.put(self._END)
        self._thread.join()
        self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (item := self._queue.get()) is not self._END:
            if self._error is None:
                try:
                    self._consume(item)
                except BaseException as error:  # noqa: BLE001  handed to the producer, who raises it
                    self._error = error


def _drain(waiting: queue.Queue) -> None:
    while True:
        try:
            waiting.get_nowait()
        except queue.Empty:
            return
