"""The size of a picture as the pair of numbers that everything else takes."""

from __future__ import annotations

import numpy as np


def picture_size(picture: np.ndarray) -> tuple[int, int]:
    """(H, W) of a picture or a mask, [H, W] or [H, W, C]."""
    height, width = picture.shape[:2]
    return height, width
