"""Drawn shapes to masks."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mindvideo.data.segmentation import decode_mask, to_rle


def polygon_mask(points: Sequence[Sequence[float]], size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W] of a polygon of at least three (x, y) points, with COCO's rule for pixels on the edge."""
    return decode_mask(to_rle([[float(number) for point in points for number in point]], *size))


def box_mask(x0: float, y0: float, x1: float, y1: float, size: tuple[int, int]) -> np.ndarray:
    return polygon_mask([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], size)


def ellipse_mask(
    centre: tuple[float, float], radii: tuple[float, float], size: tuple[int, int], degrees: float = 0.0
) -> np.ndarray:
    outline = cv2.ellipse2Poly((0, 0), (1000, 1000), 0, 0, 360, 3) / 1000.0 * np.array(radii)
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turned = outline @ np.array([[cosine, sine], [-sine, cosine]])
    return polygon_mask(turned + np.array(centre), size)


def mask_of_runs(runs: Sequence[int], place: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W] from row-wise run lengths (background first) inside ``place`` (left, top, width, height)."""
    left, top, width, height = place
    if sum(runs) != width * height:
        raise ValueError(f"runs cover {sum(runs)} pixels, the mask's box has {width * height}")
    values = np.arange(len(runs)) % 2
    mask = np.zeros(size, np.uint8)
    mask[top : top + height, left : left + width] = np.repeat(values, runs).reshape(height, width)
    return mask
