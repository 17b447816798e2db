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
    """Seconds that this process has spent on compiling, for rates that leave them out."""
    return _spent


class CompileNotice:
    """The graphs that one video adds to a tracker: said before its first answer, where its size is new, and after.

    ``graph_name`` of the tracker, where it has one, is the configuration that the time is remembered for;
    ``seen_size(size)``, where it has that, the size in which the network sees frames of ``size`` (H, W).
    """

    def __init__(self, tracker: object, size: tuple[int, int]) -> None:
        seen_size = getattr(tracker, "seen_size", None)
        size = size if seen_size is None else seen_size(size)
        sizes = _seen_sizes.setdefault(tracker, set())
        self._is_new = kept_graphs.compiles and tuple(size) not in sizes
        sizes.add(tuple(size))
        self._graph = f"{getattr(tracker, 'graph_name', type(tracker).__name__)} inference"
        self._seconds = self._compiling = 0.0
        self._before = dataclasses.replace(kept_graphs)
        if self._is_new:
            H, W = size
            about = compile_times.about(self._graph)
            if kept_graphs.on and kept_graphs.compile_after:
                _log.info(
                    "frames of %dx%d: operator by operator at first, then compiled (%s), unless an earlier run did",
                    W, H, about,
                )  # fmt: skip
            else:
                unless = "; seconds, where an earlier run did" if kept_graphs.on else ""
                _log.info("compiling the network for frames of %dx%d (%s%s)", W, H, about, unless)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Around each call of the tracker."""
        began = time.monotonic()
        yield
        self._seconds += time.monotonic() - began

    def answered(self) -> None:
        """The tracker gave instances."""
        global _spent
        seconds, was_new, before = self._seconds, self._is_new, self._before
        self._seconds, self._is_new, self._before = 0.0, False, dataclasses.replace(kept_graphs)
        if not kept_graphs.on:
            if was_new:  # most of that was compiling
                _spent += seconds
                compile_times.remember(self._graph, seconds)
                _log.info("compiled: the first answer took %.1f s", seconds)
            return
        compiling = kept_graphs.seconds - before.seconds
        _spent += compiling
        traced, stepped = kept_graphs.traced > before.traced, kept_graphs.stepped > before.stepped
        if traced:
            self._compiling += compiling  # its graphs may come one after the other
            compile_times.remember(self._graph, self._compiling)
        if was_new:
            earlier = "compiled by an earlier run: " if compiling and not (traced or stepped) else ""
            _log.info("%sthe first answer took %.1f s", earlier, seconds)
        if traced:
            _log.info("compiled, which took %.1f s", compiling)
