"""Run-length codes of masks (COCO's): made from pixels, decoded and measured.

A code lists the lengths of the runs of a mask, column by column and background first, as a compressed string. It is
kept as ``{"size": [H, W], "counts": ...}`` in two spellings: a ``Segmentation`` has its counts as str, ready for JSON;
an ``Rle`` has them as bytes, as the compiled readers take them. Every function here accepts both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mindvideo.masks.runs import decode_runs
from mindvideo.structures import Segmentation

Rle = dict[str, Any]  # {"size": [H, W], "counts": bytes}
Box = list[float]  # x, y, width, height in pixels


def encode_mask(mask: np.ndarray) -> Segmentation:
    """The code of a mask [H, W] of bool or of 0 and 1."""
    columns_first = np.asfortranarray(mask)
    as_bytes = columns_first.view(np.uint8) if mask.dtype == bool else columns_first.astype(np.uint8, copy=False)
    rle = coco_mask.encode(as_bytes)
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def empty_mask(size: tuple[int, int]) -> Segmentation:
    """The code of a mask of ``size`` (H, W) without a pixel."""
    return encode_mask(np.zeros(size, np.uint8, order="F"))


def decode_mask(rle: Mapping[str, Any]) -> np.ndarray:
    """uint8 [H, W] of 0 and 1."""
    return coco_mask.decode(rle)


def mask_area(rle: Mapping[str, Any]) -> int:
    """Number of pixels, without decoding the mask."""
    return int(coco_mask.area(rle))


def has_pixels(rle: Mapping[str, Any]) -> bool:
    return mask_area(rle) > 0


def mask_box(rle: Mapping[str, Any]) -> Box | None:
    """The tight box of a mask, without decoding it; None when it is empty."""
    counts, height = rle["counts"], int(rle["size"][0])
    ends = np.cumsum(decode_runs(counts if isinstance(counts, bytes) else counts.encode("ascii")))
    # The foreground begins where each background run ends; a run of no pixels may stand anywhere.
    begins, ends = ends[0 : len(ends) - 1 : 2], ends[1::2]
    filled = ends > begins
    if not filled.any():
        return None
    begins, lasts = begins[filled], ends[filled] - 1
    left, right = int(begins[0]) // height, int(lasts[-1]) // height
    if (begins // height != lasts // height).any():  # a run goes on into the next column
        top, bottom = 0, height - 1
    else:
        top, bottom = int((begins % height).min()), int((lasts % height).max())
    return [float(left), float(top), float(right + 1 - left), float(bottom + 1 - top)]


def box_of_pixels(rle: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """The tight box of a mask with at least one pixel: left, top, width, height."""
    box = mask_box(rle)
    if box is None:
        raise ValueError("a mask without a pixel has no box")
    left, top, width, height = (int(side) for side in box)
    return left, top, width, height


def pixel_box(mask: np.ndarray) -> Box | None:
    """The tight box of a mask [H, W] in pixels; None when it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    x, y = int(columns[0]), int(rows[0])
    return [float(x), float(y), float(columns[-1] + 1 - x), float(rows[-1] + 1 - y)]


def unite_masks(rles: Sequence[Mapping[str, Any]]) -> Rle:
    """The pixels of any of the masks, which have one size."""
    return coco_mask.merge(list(rles))


def mask_overlaps(rles: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """f64 [N, N]: intersection over union of every two of N masks of one size."""
    return np.asarray(coco_mask.iou(list(rles), list(rles), [0] * len(rles))).reshape(len(rles), len(rles))
