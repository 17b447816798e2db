"""Segmentations of annotation files (polygons, uncompressed and compressed RLE) to COCO's compressed RLE and masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

Rle = dict[str, Any]  # {"size": [H, W], "counts": bytes}


def to_rle(segmentation: Any, height: int, width: int) -> Rle:
    """Compressed RLE of one segmentation; the parts of a polygon are united.

    Raises ValueError with the reason when it is none of the three forms.
    """
    if isinstance(segmentation, dict):
        counts = segmentation.get("counts")
        if isinstance(counts, list):
            _require_full_run(counts, segmentation.get("size"))
            return coco_mask.frPyObjects(segmentation, height, width)
        if isinstance(counts, str):
            return {"size": list(segmentation["size"]), "counts": counts.encode("ascii")}
        if isinstance(counts, bytes):
            return segmentation
        raise ValueError(f"counts of type {type(counts).__name__}; a list of runs or an RLE text is needed")
    if isinstance(segmentation, list):
        if not segmentation:
            return coco_mask.encode(np.zeros((height, width), np.uint8, order="F"))
        polygons = [segmentation] if isinstance(segmentation[0], (int, float)) else segmentation
        for polygon in polygons:
            if len(polygon) < 6 or len(polygon) % 2:
                raise ValueError(f"a polygon of {len(polygon)} numbers; at least three x, y pairs are needed")
        return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    raise ValueError(f"a segmentation of type {type(segmentation).__name__}; polygons or RLE are needed")


def _require_full_run(counts: Sequence[int], size: Any) -> None:
    if not isinstance(size, (list, tuple)) or len(size) != 2:
        raise ValueError(f"RLE size {size!r}; [height, width] is needed")
    if sum(counts) != size[0] * size[1]:
        raise ValueError(f"RLE runs cover {sum(counts)} pixels, its size {list(size)} has {size[0] * size[1]}")


def unite(rles: Sequence[Rle]) -> Rle:
    """The pixels of any of the masks."""
    return coco_mask.merge([to_rle(rle, *rle["size"]) for rle in rles])


def decode_mask(rle: Rle) -> np.ndarray:
    """uint8 [H, W] of 0 and 1."""
    return coco_mask.decode(rle)


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
