"""Colours in few steps, for telling scenes and objects apart."""

from __future__ import annotations

import numpy as np

BITS_DROPPED = 5  # of each channel: eight steps are left
NUM_COLOURS = (256 >> BITS_DROPPED) ** 3


def colour_numbers(picture: np.ndarray) -> np.ndarray:
    """uint8 RGB [H, W, 3] -> the number of each pixel's colour, int64 [H, W], below NUM_COLOURS."""
    steps = 256 >> BITS_DROPPED
    red, green, blue = np.moveaxis(picture.astype(np.int64) >> BITS_DROPPED, -1, 0)
    return (red * steps + green) * steps + blue


def shares_of_colours(numbers: np.ndarray) -> np.ndarray:
    """Numbers of some pixels, at least one -> the share of each colour among them, float64 [NUM_COLOURS]."""
    return np.bincount(numbers.ravel(), minlength=NUM_COLOURS) / numbers.size
