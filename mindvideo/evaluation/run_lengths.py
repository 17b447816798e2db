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
        if segmentation is None:
            tube.append(b"")
            continue
        try:  # what almost every mask is
            text = segmentation["counts"].encode("ascii") if segmentation["size"] == size else b""
        except (TypeError, KeyError, AttributeError, UnicodeEncodeError):
            text = b""
        tube.append(text or _text_of(segmentation, frame, height, width))
    return tube


def _text_of(segmentation: Any, frame: int, height: int, width: int) -> bytes:
    """One mask of any form, or ValueError."""
    if not segmentation:
        return b""
    if isinstance(segmentation, dict):
        given = segmentation.get("size")
        if list(given or ()) != [height, width]:
            expected = [height, width]
            raise ValueError(f"frame {frame}: mask size {given}, but the video's frames are {expected} (height, width)")
    try:
        text = to_rle(segmentation, height, width)["counts"]
    except (ValueError, TypeError) as error:  # UnicodeEncodeError is a ValueError
        raise ValueError(f"frame {frame}: {error}") from error
    if not text:
        raise ValueError(f"frame {frame}: the RLE text is empty; write null for a frame without the object")
    return text


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
