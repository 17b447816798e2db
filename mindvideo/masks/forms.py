"""Segmentations of annotation files (polygons, uncompressed and compressed RLE) to COCO's compressed RLE and masks."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mindvideo.masks.run_lengths import runs_fault, text_fault

Rle = dict[str, Any]  # {"size": [H, W], "counts": bytes}
FARTHEST = 1_000_000  # pixels from the corner that a polygon's point may lie


def to_rle(segmentation: Any, height: int, width: int) -> Rle:
    """Compressed RLE of one segmentation; the parts of a polygon are united.

    Raises ValueError with the reason when it is none of the three forms or is damaged. An RLE keeps its own size, which
    the caller compares.
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
        raise ValueError(f"counts of type {type(counts).__name__}; a list of runs or an RLE text is needed")
    if not isinstance(size, (list, tuple)) or [type(side) for side in size] != [int, int] or min(size) < 1:
        raise ValueError(f"RLE size {size!r}; [height, width] is needed")
    if isinstance(counts, list):
        if fault := runs_fault(counts, *size):
            raise ValueError(fault)
        return coco_mask.frPyObjects({"size": list(size), "counts": counts}, *size)
    if not counts.isascii():
        raise ValueError(f"RLE counts {reprlib.repr(counts)}; their characters are ASCII, so these are damaged")
    text = counts.encode("ascii")
    if fault := text_fault(text, *size):
        raise ValueError(fault)
    return {"size": list(size), "counts": text}


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


def unite(rles: Sequence[Rle]) -> Rle:
    """The pixels of any of the masks."""
    return coco_mask.merge([to_rle(rle, *rle["size"]) for rle in rles])


def decode_mask(rle: Rle) -> np.ndarray:
    """uint8 [H, W] of 0 and 1."""
    return coco_mask.decode(rle)


def mask_area(rle: Rle) -> int:
    """Number of pixels, without decoding the mask."""
    return int(coco_mask.area(rle))


def encode_mask(mask: np.ndarray) -> Rle:
    """Compressed RLE (counts as text, ready for JSON) of a bool or 0/1 mask [H, W]."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def mask_box(mask: np.ndarray) -> list[float] | None:
    """Tight [x, y, width, height] of a mask [H, W] (half-open pixels), None when it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    x, y = int(columns[0]), int(rows[0])
    return [float(x), float(y), float(columns[-1] + 1 - x), float(rows[-1] + 1 - y)]
