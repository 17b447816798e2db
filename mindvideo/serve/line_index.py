"""A part of ``frames.jsonl`` without reading the rest, for players that jump in a long video."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

MAX_FRAMES = 256  # of one answer


def frame_lines(path: Path, start: int, count: int) -> bytes:
    """JSON: a list of the lines ``start`` to ``start + count``, as far as there are any."""
    begins = _begins(path, path.stat().st_mtime_ns)
    start = min(max(start, 0), len(begins) - 1)
    stop = min(start + min(max(count, 0), MAX_FRAMES), len(begins) - 1)
    with open(path, "rb") as stream:
        stream.seek(begins[start])
        lines = stream.read(int(begins[stop] - begins[start])).splitlines()
    return b"[" + b",".join(lines) + b"]"


@functools.lru_cache(maxsize=16)
def _begins(path: Path, changed_ns: int) -> np.ndarray:
    """Where each line begins, and the end of the last; ``changed_ns`` tells one version of the file from another."""
    begins = [0]
    with open(path, "rb") as stream:
        for line in stream:
            begins.append(begins[-1] + len(line))
    return np.array(begins, np.int64)
