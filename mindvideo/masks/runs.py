"""Checks that runs cover a mask, the whole of it and no more, without making the mask.

COCO's compressed string: 6-bit characters from '0', each with 5 bits of a value, the lowest first, and a bit that says
"goes on". From the fourth run on a value is the difference to the run two places before.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mindvideo.masks.native import native_sampling

MAX_CHARACTERS = 12  # of a run: 60 bits, as the compiled readers take them


def string_fault(string: bytes, height: int, width: int) -> str | None:
    """The fault of a compressed string of a mask; None for a sound one."""
    native = native_sampling()
    if native is not None and not native(
        string, len(string), height, width, None, 0, None, 0, None
    ):  # asks for no pixel
        return None
    try:
        return runs_fault(decode_runs(string).tolist(), height, width)
    except ValueError as error:
        return str(error)


def runs_fault(runs: Sequence[Any], height: int, width: int) -> str | None:
    """The fault of a list of runs; None for a sound one."""
    try:
        total, smallest = sum(runs), min(runs, default=0)
    except TypeError:
        return f"RLE runs {reprlib.repr(runs)}; whole numbers are needed"
    if smallest < 0:
        return f"an RLE run of {smallest} pixels; the counts are damaged"
    if total != height * width:
        return f"RLE runs cover {total} pixels, its size {[height, width]} has {height * width}"
    if type(total) is float and any(run != int(run) for run in runs):
        return "RLE runs that are no whole numbers"
    return None


def first_broken(strings: Sequence[bytes], pixels: int) -> int | None:
    """Index of the first string that is not a whole mask of ``pixels`` pixels; empty strings are absent masks."""
    filled = np.array([index for index, string in enumerate(strings) if string], np.int64)
    if not len(filled):
        return None
    characters = _characters_of(b"".join(strings))
    stops = np.cumsum([len(strings[index]) for index in filled])  # after the last character of each string
    outside = np.flatnonzero(characters > 63)
    unfinished = np.flatnonzero(characters[stops - 1] & 0x20)
    unreadable = [*np.searchsorted(stops, outside[:1], side="right"), *unfinished[:1]]
    readable = int(min(unreadable, default=len(filled)))
    if readable:
        runs, lengths, first_runs = _decode(characters[: stops[readable - 1]], stops[:readable])
        # As unsigned numbers those below 0 are the largest.
        largest = np.maximum.reduceat(runs.view(np.uint64), first_runs)
        wrong = np.flatnonzero((np.add.reduceat(runs, first_runs) != pixels) | (largest > pixels))
        too_long = np.flatnonzero(lengths > MAX_CHARACTERS)
        found = [*wrong[:1], *np.searchsorted(first_runs, too_long[:1], side="right") - 1]
        if found:
            return int(filled[min(found)])
    return int(filled[readable]) if readable < len(filled) else None


def decode_runs(string: bytes) -> np.ndarray:
    """Runs int64 of a compressed string; ValueError where it is none."""
    characters = _characters_of(string)
    outside = np.flatnonzero(characters > 63)
    if len(outside):
        raise ValueError(f"RLE counts with {chr(string[outside[0]])!r}, which never occurs in them; they are damaged")
    if not len(string) or characters[-1] & 0x20:
        raise ValueError("RLE counts that end before a run does; they are cut short")
    runs, lengths, _ = _decode(characters, np.array([len(string)]))
    if lengths.max() > MAX_CHARACTERS:
        raise ValueError(f"an RLE run of {lengths.max()} characters; the counts are damaged")
    return runs


def _characters_of(string: bytes) -> np.ndarray:
    """uint8: 6-bit values; above 63 they are not characters of a compressed string."""
    return np.frombuffer(string, np.uint8) - np.uint8(ord("0"))  # below '0' wraps to above 63


def _decode(characters: np.ndarray, stops: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of readable strings joined, the number of characters of each, and the index of each string's first run.

    ``stops``: after the last character of each string. Runs of more than MAX_CHARACTERS are not decoded rightly.
    """
    last = np.flatnonzero(characters < 0x20)  # last character of each run
    lengths = np.diff(last, prepend=-1)
    runs = _values(characters, last, lengths)
    first_runs = np.concatenate([[0], np.searchsorted(last, stops[:-1])])
    ends = np.append(first_runs[1:], len(runs))
    for first, end in zip(first_runs.tolist(), ends.tolist()):
        for begin in (first + 1, first + 2):
            differences = runs[begin:end:2]
            np.cumsum(differences, out=differences)
    return runs, lengths, first_runs


def _values(characters: np.ndarray, last: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """int64: the number that each run's characters give; most have one character."""
    values = characters[last].astype(np.int64)
    values -= (values & 0x10) << 1
    longer = np.flatnonzero(lengths > 1)
    sizes, stops = np.minimum(lengths[longer], MAX_CHARACTERS), last[longer]
    sums = -((characters[stops].astype(np.int64) >> 4 & 1) << 5 * sizes)  # the sign
    for place in range(int(sizes.max(initial=0))):
        there = sizes > place
        sums[there] += (characters[(stops - sizes + 1 + place)[there]].astype(np.int64) & 0x1F) << 5 * place
    values[longer] = sums
    return values
