"""Turns the segmentations of label files (polygons, uncompressed and compressed RLE) into compressed RLE."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mindvideo.masks.rle import Rle
from mindvideo.masks.runs import runs_fault, string_fault

Tube = list[bytes]  # the masks of a track: one compressed string a frame, b"" where the track is absent
FARTHEST = 1_000_000  # pixels from the corner that a polygon's point may lie


def to_rle(segmentation: Any, height: int, width: int) -> Rle:
    """Compressed RLE of one segmentation; the parts of a polygon are united.

    Raises ValueError with the reason when it has none of the three forms or is damaged. An RLE keeps its own size,
    which the caller compares.
    """
    if isinstance(segmentation, dict):
        return _checked_rle(segmentation)
    if isinstance(segmentation, list):
        if not segmentation:
            return coco_mask.encode(np.zeros((height, width), np.uint8, order="F"))
        polygons = [segmentation] if isinstance(segmentation[0], (int, float)) else segmentation
        for polygon in polygons:
            _require_polygon(polygon)
        return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    raise ValueError(f"a segmentation of type {type(segmentation).__name__}; polygons or RLE are needed")


def _checked_rle(rle: dict[str, Any]) -> Rle:
    counts, size = rle.get("counts"), rle.get("size")
    if isinstance(counts, bytes):  # only our own, never from a file
        return rle
    if not isinstance(counts, (list, str)):
        raise ValueError(f"counts of type {type(counts).__name__}; a list of runs or an RLE string is needed")
    if not isinstance(size, (list, tuple)) or [type(side) for side in size] != [int, int] or min(size) < 1:
        raise ValueError(f"RLE size {size!r}; [height, width] is needed")
    if isinstance(counts, list):
        if fault := runs_fault(counts, *size):
            raise ValueError(fault)
        return coco_mask.frPyObjects({"size": list(size), "counts": counts}, *size)
    if not counts.isascii():
        raise ValueError(f"RLE counts {reprlib.repr(counts)}; their characters are ASCII, so these are damaged")
    string = counts.encode("ascii")
    if fault := string_fault(string, *size):
        raise ValueError(fault)
    return {"size": list(size), "counts": string}


def _require_polygon(polygon: Any) -> None:
    if not isinstance(polygon, list):
        raise ValueError(f"a polygon that is {reprlib.repr(polygon)}; a list x, y, x, y, ... is needed")
    if len(polygon) < 6 or len(polygon) % 2:
        raise ValueError(f"a polygon of {len(polygon)} numbers; at least three x, y pairs are needed")
    try:
        # pycocotools reserves memory for every pixel of an edge, so one far outside would take it all.
        fits = math.isfinite(sum(polygon)) and max(polygon) <= FARTHEST and min(polygon) >= -FARTHEST
    except (TypeError, OverflowError):
        fits = False
    if not fits:
        raise ValueError(f"a polygon {reprlib.repr(polygon)}; numbers x, y, x, y, ... in pixels are needed")


class MaskSizeError(ValueError):
    """A mask of another size than its frame."""


def read_mask(segmentation: Any, height: int, width: int) -> Rle:
    """Compressed RLE of one segmentation of a frame of this size; ValueError with the reason where it is unusable."""
    rle = to_rle(segmentation, height, width)
    # RLE of one frame written with another size cannot be told apart later, so the size is checked here.
    if list(rle["size"]) != [height, width]:
        raise MaskSizeError(f"mask size {list(rle['size'])}, frame size {[height, width]} ([height, width])")
    return rle


def tube_of(segmentations: Sequence[Any], height: int, width: int) -> Tube:
    """The compressed strings of one track; polygons, lists of runs and compressed strings are accepted.

    Raises a ValueError that begins with ``frame N`` and names the fault.
    """
    tube = []
    size = [height, width]
    for frame, segmentation in enumerate(segmentations):
        if segmentation is None:
            tube.append(b"")
            continue
        try:  # almost every mask is a compressed string of the right size
            string = segmentation["counts"].encode("ascii") if segmentation["size"] == size else b""
        except (TypeError, KeyError, AttributeError, UnicodeEncodeError):
            string = b""
        tube.append(string or _string_of(segmentation, frame, height, width))
    return tube


def _string_of(segmentation: Any, frame: int, height: int, width: int) -> bytes:
    """The compressed string of one mask of any form; ValueError where it is none."""
    if not segmentation:
        return b""
    if isinstance(segmentation, dict):
        given, expected = segmentation.get("size"), [height, width]
        if given not in (expected, (height, width)):
            raise ValueError(f"frame {frame}: mask size {given}, but the video's frames are {expected} (height, width)")
        if segmentation.get("counts") in ("", b""):
            raise ValueError(f"frame {frame}: the RLE string is empty; write null for a frame without the object")
    try:
        return to_rle(segmentation, height, width)["counts"]
    except (ValueError, TypeError) as error:  # UnicodeEncodeError is a ValueError
        raise ValueError(f"frame {frame}: {error}") from error
