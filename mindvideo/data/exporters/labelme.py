"""labelme: one JSON beside each picture; the parts of an object have its track's number as their group id."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from mindvideo.data.exporters.outlines import outline_parts
from mindvideo.data.exporters.tracked_video import TrackedVideo
from mindvideo.masks.rle import box_of_pixels, decode_mask
from mindvideo.structures import Segmentation

_VERSION = "5.5.0"  # of labelme, the release whose files have masks


def labelme_frame(video: TrackedVideo, place: int, *, picture: str, tolerance: float) -> dict[str, Any]:
    """The content of the file beside ``picture``.

    Objects without holes are polygons whose outlines may be off by ``tolerance`` pixels. Those with holes, which
    polygons cannot have, and everything with a tolerance of 0 are shapes of the kind "mask", which is exact.
    """
    H, W = video.size
    shapes = []
    for track, mask in video.at(place):
        for shape in _shapes(mask, tolerance):
            entry = {"label": track.category, "group_id": track.id, "description": "", "flags": {}, "mask": None}
            if track.score is not None:
                entry["description"] = f"score {track.score:.3f}"
            shapes.append({**entry, **shape})
    return {
        "version": _VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": picture,
        "imageData": None,
        "imageHeight": H,
        "imageWidth": W,
    }


def _shapes(mask: Segmentation, tolerance: float) -> list[dict[str, Any]]:
    left, top, width, height = box_of_pixels(mask)
    cropped = decode_mask(mask)[top : top + height, left : left + width]
    if tolerance <= 0 or _has_hole(cropped):
        return [_mask_shape(cropped, left, top)]
    polygons = [part + (left, top) for part in outline_parts(cropped, tolerance)]
    return [{"shape_type": "polygon", "points": part.astype(float).tolist()} for part in polygons]


def _has_hole(mask: np.ndarray) -> bool:
    """Whether some background is enclosed: the rings of holes turn the other way."""
    turns = [_turn(part) for part in outline_parts(mask, 0)]
    return any(turn * turns[0] < 0 for turn in turns)


def _turn(ring: np.ndarray) -> float:
    """Twice the signed area."""
    x, y = ring[:, 0], ring[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def _mask_shape(cropped: np.ndarray, left: int, top: int) -> dict[str, Any]:
    """labelme's own form: the box by its first and its last pixel, and the pixels in it as a PNG in base64."""
    height, width = cropped.shape
    stream = io.BytesIO()
    Image.fromarray(cropped.astype(bool)).save(stream, format="PNG")
    corners: Sequence[Sequence[float]] = [[left, top], [left + width - 1, top + height - 1]]
    return {
        "shape_type": "mask",
        "points": [[float(x), float(y)] for x, y in corners],
        "mask": base64.b64encode(stream.getvalue()).decode("ascii"),
    }
