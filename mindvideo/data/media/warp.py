"""Affine and perspective warps, with black outside where nothing else is said.

OpenCV 4 rounds bilinear coordinates to 1/32 pixel; the pictures here are interpolated exactly, as OpenCV 5 does it.
"""

from __future__ import annotations

import cv2
import numpy as np

from mindvideo.structures.picture_size import picture_size


def rotation_about_centre(degrees: float, size: tuple[int, int], shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Matrix [3, 3]: turn by ``degrees`` about the middle of the pixel grid, then move by ``shift`` (x, y) pixels."""
    height, width = size
    x, y = width / 2.0 - 0.5, height / 2.0 - 0.5
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    to_origin = np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1.0]])
    turn = np.array([[cosine, -sine, shift[0]], [sine, cosine, shift[1]], [0, 0, 1.0]])
    back = np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])
    return back @ turn @ to_origin


def warp_nearest(label_map: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``label_map`` [H, W] under ``matrix`` (from here to there), of the new ``size``."""
    height, width = size
    if np.array_equal(matrix[2], [0, 0, 1]):
        return cv2.warpAffine(label_map, matrix[:2], (width, height), flags=cv2.INTER_NEAREST)
    return cv2.warpPerspective(label_map, matrix, (width, height), flags=cv2.INTER_NEAREST)


def warp_bilinear(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, C] under ``matrix`` (from here to there), of the new ``size``."""
    x, y = _source_points(matrix, size)
    left, top = np.floor(x), np.floor(y)
    right_share, lower_share = (x - left).ravel()[:, None], (y - top).ravel()[:, None]
    height, width, channels = image.shape
    padded = np.zeros((height + 2, width + 2, channels), np.float32)
    padded[1:-1, 1:-1] = image
    flat = padded.reshape(-1, channels)
    columns = [np.clip(left + step, 0, width + 1).astype(np.int32) for step in (1, 2)]
    starts = [np.clip(top + step, 0, height + 1).astype(np.int32) * (width + 2) for step in (1, 2)]
    rows = []
    for start in starts:
        first, second = (flat.take((start + column).ravel(), axis=0) for column in columns)
        second -= first
        second *= right_share
        second += first
        rows.append(second)
    upper, lower = rows
    lower -= upper
    lower *= lower_share
    lower += upper
    return np.clip(np.rint(lower), 0, 255).astype(np.uint8).reshape(*size, channels)


def turned_picture(image: np.ndarray, degrees: float) -> np.ndarray:
    """uint8 [H, W, 3] turned about its middle; what comes into view has the picture's mean colour."""
    mean = image.mean(axis=(0, 1)).tolist()
    matrix = rotation_about_centre(degrees, picture_size(image))[:2]
    width_height = (image.shape[1], image.shape[0])
    return cv2.warpAffine(
        image, matrix, width_height, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=mean
    )


def _source_points(matrix: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """x and y f32 [H, W] of the point that each pixel of the result comes from."""
    inverse = np.linalg.inv(matrix)
    row = np.arange(size[0], dtype=np.float64)[:, None]
    column = np.arange(size[1], dtype=np.float64)
    x, y, depth = (terms[0] * column + (terms[1] * row + terms[2]) for terms in inverse)
    return (x / depth).astype(np.float32), (y / depth).astype(np.float32)
