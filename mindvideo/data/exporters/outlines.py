"""Masks as polygons. Outlines go along the borders of pixels, so that a polygon without simplification is exact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from mindvideo.masks.rle import box_of_pixels, decode_mask


def outline_parts(mask: np.ndarray, tolerance: float) -> list[np.ndarray]:
    """A polygon int [n, 2] of (x, y) for each part of a mask [H, W] and for each hole, the largest part first.

    ``tolerance``: by how many pixels the outline may be off; 0 keeps every corner of every pixel. Parts that are
    smaller than the tolerance are left out, unless nothing else is there.
    """
    exact = sorted(_rings(mask), key=_area, reverse=True)
    if tolerance <= 0:
        return exact
    simple = [cv2.approxPolyDP(ring.astype(np.int32), tolerance, closed=True)[:, 0] for ring in exact]
    return [ring for ring in simple if len(ring) >= 3] or exact[:1]


def mask_outline(mask: Mapping[str, Any], tolerance: float) -> np.ndarray:
    """One polygon int [n, 2] of (x, y) for the whole mask: its parts and holes hang together by cuts of no width.

    Tools that keep one polygon for an object show the same area; filled, the cuts have no pixel.
    """
    left, top, width, height = box_of_pixels(mask)
    cropped = decode_mask(mask)[top : top + height, left : left + width]
    outline, *others = outline_parts(cropped, tolerance)
    for ring in others:
        distances = ((outline[:, None] - ring[None]) ** 2).sum(-1)
        here, there = np.unravel_index(distances.argmin(), distances.shape)
        outline = np.concatenate([outline[: here + 1], ring[there:], ring[: there + 1], outline[here:]])
    return outline + (left, top)


def _rings(mask: np.ndarray) -> list[np.ndarray]:
    """Closed outlines along pixel borders, of parts and of holes; the two turn opposite ways.

    OpenCV's contours run through the centres of pixels. In the mask at twice the size each pixel is two wide, and the
    contour's 2 x and 2 x + 1 are its left and its right side: halved and rounded up, they are the borders x and x + 1.
    """
    doubled = mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, _ = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return [_corners((contour[:, 0] + 1) // 2) for contour in contours]


def _corners(points: np.ndarray) -> np.ndarray:
    """Without points that are there twice in a row, and without those on a straight line."""
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    goes_back = (before * after).sum(axis=1) < 0
    return points[turns | goes_back]


def _area(ring: np.ndarray) -> float:
    return abs(cv2.contourArea(ring.astype(np.int32)))
