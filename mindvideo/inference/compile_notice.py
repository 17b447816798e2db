"""Says when a tracker's graphs are compiled, for frames of a size that they have not seen, and how long that takes."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
import weakref
from collections.abc import Iterator

from mindvideo import compile_times
from mindvideo.compile_times import kept_graphs

_log = logging.getLogger("mindvideo.inference")
_seen_sizes: weakref.WeakKeyDictionary[object, set[tuple[int, int]]] = weakref.WeakKeyDictionary()
_spent = 0.0


def compiling_seconds() -> float:
    """Seconds that this process has spent on first answers, for rates that leave them out."""
    return _spent


class CompileNotice:
    """The way of one video to a tracker's first answer, most of which is compiling where its size is new.

    ``graph_name`` of the tracker, where it has one, is the configuration that the time is remembered for;
    ``seen_size(size)``, where it has that, the size in which the network sees frames of ``size`` (H, W).
    """

    def __init__(self, tracker: object, size: tuple[int, int]) -> None:
        seen_size = getattr(tracker, "seen_size", None)
        size = size if seen_size is None else seen_size(size)
        sizes = _seen_sizes.setdefault(tracker, set())
        self._pending = tuple(size) not in sizes
        sizes.add(tuple(size))
        self._graph = f"{getattr(tracker, 'graph_name', type(tracker).__name__)} inference"
        self._seconds = 0.0
        self._before = dataclasses.replace(kept_graphs)
        if self._pending:
            H, W = size
            unless = "; seconds, where an earlier run did" if kept_graphs.on else ""
            about = compile_times.about(self._graph)
            _log.info("compiling the network for frames of %dx%d (%s%s)", W, H, about, unless)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Around each call of the tracker."""
        began = time.monotonic()
        yield
        if self._pending:
            self._seconds += time.monotonic() - began

    def answered(self) -> None:
        """The tracker gave its first instances: its graphs are there."""
        global _spent
        if self._pending:
            self._pending = False
            _spent += self._seconds
            if kept_graphs.found > self._before.found and kept_graphs.traced == self._before.traced:
                _log.info("compiled by an earlier run: the first answer took %.1f s", self._seconds)
                return
            compile_times.remember(self._graph, self._seconds)
            _log.info("compiled: the first answer took %.1f s", self._seconds)
