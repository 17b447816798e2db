"""Masks of COCO entries. One that cannot be used raises ValueError with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mindvideo.data.importers.shapes import box_mask, point_array
from mindvideo.masks.forms import read_mask
from mindvideo.masks.rle import encode_mask


def entry_rle(entry: dict[str, Any], size: tuple[int, int]) -> Mapping[str, Any]:
    """Compressed RLE of an entry's segmentation, or of its bbox where there is none (a drawn rectangle)."""
    segmentation = entry.get("segmentation")
    if segmentation in (None, [], [[]]):
        return _box_rle(entry, size)
    return read_mask(segmentation, *size)


def _box_rle(entry: dict[str, Any], size: tuple[int, int]) -> Mapping[str, Any]:
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError("it has no segmentation and no bbox [x, y, width, height]")
    (x, y), (width, height) = point_array([box[:2], box[2:]])
    degrees = (entry.get("attributes") or {}).get("rotation") or 0.0  # CVAT: bbox is the box before it is turned
    if not isinstance(degrees, (int, float)):
        raise ValueError(f"rotation {degrees!r}; a number of degrees is needed")
    return encode_mask(box_mask(x, y, x + width, y + height, size, degrees=degrees))
