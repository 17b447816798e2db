"""Colours in few steps, for telling scenes and objects apart."""

from __future__ import annotations

import numpy as np

COARSE, FINE = 8, 16  # steps of each channel


def colour_numbers(picture: np.ndarray, steps: int = COARSE) -> np.ndarray:
    """uint8 RGB [H, W, 3] -> the number of each pixel's colour, int64 [H, W], below ``steps`` ** 3."""
    red, green, blue = np.moveaxis(picture.astype(np.int64) * steps >> 8, -1, 0)
    return (red * steps + green) * steps + blue


def shares_of_colours(numbers: np.ndarray, steps: int = COARSE) -> np.ndarray:
    """Numbers of some pixels, at least one -> the share of each colour among them, float64 [steps ** 3]."""
    return np.bincount(numbers.ravel(), minlength=steps**3) / numbers.size
