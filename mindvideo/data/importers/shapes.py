"""Drawn shapes to masks. A shape that cannot be used raises ValueError with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from mindvideo.masks.forms import to_rle
from mindvideo.masks.rle import decode_mask

FARTHEST = 100_000  # pixels from the corner; a larger number is a mistake and would fill the memory


def point_array(points: Any, *, minimum: int = 1) -> np.ndarray:
    """float64 [N, 2] of at least ``minimum`` (x, y) points."""
    if points is None:
        raise ValueError("its points are missing")
    try:
        array = np.array(points, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("its points are not pairs of numbers") from error
    if array.size and (array.ndim != 2 or array.shape[1] != 2):
        raise ValueError("its points are not pairs of numbers")
    if len(array) < minimum:
        raise ValueError(f"it has {len(array)} points; at least {minimum} are needed")
    if not (np.abs(array) <= FARTHEST).all():
        raise ValueError(f"a point is no number or beyond {FARTHEST} pixels")
    return array


def polygon_mask(points: Any, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W] of a polygon of at least three (x, y) points, with COCO's rule for pixels on the edge."""
    return decode_mask(to_rle([point_array(points, minimum=3).ravel().tolist()], *size))


def box_mask(x0: float, y0: float, x1: float, y1: float, size: tuple[int, int], *, degrees: float = 0.0) -> np.ndarray:
    """``degrees``: by how much the box is turned about its centre, clockwise."""
    corners = point_array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    # An upright box stays as it is: rounding would move its edges into the neighbouring pixels.
    return polygon_mask(_turned(corners - centre, degrees) + centre if degrees % 360 else corners, size)


def ellipse_mask(
    centre: tuple[float, float], radii: tuple[float, float], size: tuple[int, int], *, degrees: float = 0.0
) -> np.ndarray:
    outline = np.asarray(cv2.ellipse2Poly((0, 0), (1000, 1000), 0, 0, 360, 3)) / 1000.0 * np.array(radii)
    return polygon_mask(_turned(outline, degrees) + np.array(centre), size)


def _turned(points: np.ndarray, degrees: float) -> np.ndarray:
    """[N, 2] points turned about (0, 0), clockwise as y points down."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return points @ np.array([[cosine, sine], [-sine, cosine]])


def mask_of_runs(runs: Sequence[int], place: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W] from row-wise run lengths (background first) inside ``place`` (left, top, width, height)."""
    left, top, width, height = place
    if min(runs) < 0 or sum(runs) != width * height:
        raise ValueError(f"runs cover {sum(runs)} pixels, the mask's box has {width * height}")
    values = np.arange(len(runs)) % 2
    return placed_mask(np.repeat(values, runs).reshape(height, width), left, top, size)


def placed_mask(part: np.ndarray, left: int, top: int, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W] with the 0/1 ``part`` at its place, which has to lie inside the frame."""
    height, width = part.shape
    if left < 0 or top < 0 or left + width > size[1] or top + height > size[0]:
        raise ValueError(
            f"a mask of {height} x {width} (height x width) at x {left}, y {top} reaches over the border of the frame "
            f"of {size[0]} x {size[1]}"
        )
    mask = np.zeros(size, np.uint8)
    mask[top : top + height, left : left + width] = part
    return mask
