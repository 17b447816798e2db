"""Whether runs cover a mask, the whole of it and no more, found without making the mask."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mindvideo.data.mask_sampling import native_sampling

MOST_CHARACTERS = 7  # of a run: 35 bits, more than the largest frame has pixels


def text_fault(text: bytes, height: int, width: int) -> str | None:
    """What is wrong with a compressed run-length text (COCO's) of a mask; None for a sound one."""
    native = native_sampling()
    if native is not None and not native(text, len(text), height, width, None, 0, None, 0, None):  # no pixel is asked
        return None
    try:
        return runs_fault(decode_runs(text).tolist(), height, width)
    except ValueError as error:
        return str(error)


def runs_fault(runs: Sequence[Any], height: int, width: int) -> str | None:
    """What is wrong with a list of runs; None for a sound one."""
    try:
        total, least = sum(runs), min(runs, default=0)
    except TypeError:
        return f"RLE runs {reprlib.repr(runs)}; whole numbers are needed"
    if least < 0:
        return f"an RLE run of {least} pixels; the counts are damaged"
    if total != height * width:
        return f"RLE runs cover {total} pixels, its size {[height, width]} has {height * width}"
    if type(total) is float and any(run != int(run) for run in runs):
        return "RLE runs that are no whole numbers"
    return None


def decode_runs(text: bytes) -> np.ndarray:
    """Runs int64 of a compressed text; ValueError where it is none.

    The code: 6-bit characters from '0', each with 5 bits of a value, the lowest first, and a bit that says "goes on".
    From the fourth run on a value is the difference to the run two places before.
    """
    characters = np.frombuffer(text, np.uint8) - np.uint8(ord("0"))  # below '0' wraps to above 63
    outside = np.flatnonzero(characters > 63)
    if len(outside):
        raise ValueError(f"RLE counts with {chr(text[outside[0]])!r}, which never occurs in them; they are damaged")
    if not len(text) or characters[-1] & 0x20:
        raise ValueError("RLE counts that end before a run does; they are cut short")
    last = np.flatnonzero(characters < 0x20)  # last character of each run
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last + 1 - first
    if lengths.max() > MOST_CHARACTERS:
        raise ValueError(f"an RLE run of {lengths.max()} characters; the counts are damaged")
    places = np.arange(len(characters)) - np.repeat(first, lengths)
    runs = np.add.reduceat((characters & 0x1F).astype(np.int64) << 5 * places, first)
    runs -= ((characters[last] & 0x10) > 0) * (np.int64(1) << 5 * lengths)  # the sign
    for begin in (1, 2):
        np.cumsum(runs[begin::2], out=runs[begin::2])
    return runs
