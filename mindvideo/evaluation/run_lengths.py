"""Compressed run-length texts: any accepted form to text, and whether texts are whole masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mindvideo.data.segmentation import to_rle

Tube = list[bytes]  # one compressed RLE text a frame, b"" where the track is absent


def tube_of(segmentations: Sequence[Any], height: int, width: int) -> Tube:
    """The texts of one track; polygons, lists of runs and texts are accepted.

    Raises ValueError that begins with ``frame N`` and names the fault.
    """
    tube = []
    size = [height, width]
    for frame, segmentation in enumerate(segmentations):
        if not segmentation:
            tube.append(b"")
            continue
        if isinstance(segmentation, dict):
            if list(segmentation.get("size", ())) != size:
                given = segmentation.get("size")
                raise ValueError(f"frame {frame}: mask size {given}, but the video's frames are {size} (height, width)")
            counts = segmentation.get("counts")
            if isinstance(counts, str) and counts:
                if not counts.isascii():
                    raise ValueError(f"frame {frame}: the RLE text holds characters outside ASCII")
                tube.append(counts.encode("ascii"))
                continue
        try:
            tube.append(to_rle(segmentation, height, width)["counts"])
        except (ValueError, TypeError) as error:
            raise ValueError(f"frame {frame}: {error}") from error
    return tube


def first_broken(texts: Sequence[bytes], pixels: int) -> int | None:
    """Index of the first text that is not a whole mask of ``pixels`` pixels; empty texts are absent masks."""
    filled = np.array([index for index, text in enumerate(texts) if text], np.int64)
    if not len(filled):
        return None
    characters = np.frombuffer(b"".join(texts), np.uint8) - np.uint8(ord("0"))  # below "0" wraps to above 63
    stops = np.cumsum([len(texts[index]) for index in filled])  # behind the last character of each text
    outside = np.flatnonzero(characters > 63)
    unfinished = np.flatnonzero(characters[stops - 1] & 0x20)
    unreadable = [*np.searchsorted(stops, outside[:1], side="right"), *unfinished[:1]]
    readable = int(min(unreadable, default=len(filled)))
    if readable:
        runs, first_runs = _decode_runs(characters[: stops[readable - 1]], stops[:readable])
        totals, least = np.add.reduceat(runs, first_runs), np.minimum.reduceat(runs, first_runs)
        wrong = np.flatnonzero((totals != pixels) | (least < 0))
        if len(wrong):
            return int(filled[wrong[0]])
    return int(filled[readable]) if readable < len(filled) else None


def _decode_runs(characters: np.ndarray, stops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs of readable texts joined, and the index of each text's first run. ``characters`` are 6-bit values."""
    last = np.flatnonzero(characters < 0x20)  # last character of each run
    values = _values(characters, last)
    first_runs = np.concatenate([[0], np.searchsorted(last, stops[:-1])])
    ends = np.append(first_runs[1:], len(values))
    for first, end in zip(first_runs.tolist(), ends.tolist()):
        # From the fourth on, a value is the difference to the run two places before.
        for begin in (first + 1, first + 2):
            runs = values[begin:end:2]
            np.cumsum(runs, out=runs)
    return values, first_runs


def _values(characters: np.ndarray, last: np.ndarray) -> np.ndarray:
    """int64: the number that each run's characters give; most have one character."""
    values = characters[last].astype(np.int64)
    values -= (values & 0x10) << 1
    lengths = np.diff(last, prepend=-1)
    longer = np.flatnonzero(lengths > 1)
    sizes, stops = lengths[longer], last[longer]
    sums = -((characters[stops].astype(np.int64) >> 4 & 1) << 5 * np.minimum(sizes, 12))  # the sign
    for place in range(int(sizes.max(initial=0))):
        there = sizes > place
        sums[there] += (characters[(stops - sizes + 1 + place)[there]].astype(np.int64) & 0x1F) << 5 * min(place, 11)
    values[longer] = sums
    return values
