"""Where the pixels of masks begin and end."""

from __future__ import annotations

import cv2
import numpy as np


def mask_extents(masks: np.ndarray) -> np.ndarray:
    """f32 [..., 4]: first and last column and row (x0, y0, x1, y1, the last included) of masks [..., H, W].

    An empty mask has zeros.
    """
    # PARITY(instanceformer, seqformer): the last pixel, not the one after it, so boxes are one pixel narrow.
    flat = np.ascontiguousarray(masks.reshape(-1, *masks.shape[-2:]), np.uint8)
    boxes = np.zeros((len(flat), 4), np.float32)
    for box, mask in zip(boxes, flat):
        x, y, width, height = cv2.boundingRect(mask)
        if width:
            box[:] = x, y, x + width - 1, y + height - 1
    return boxes.reshape(*masks.shape[:-2], 4)


def boxes_around(masks: np.ndarray) -> np.ndarray:
    """f32 [..., 4]: x0, y0 and the column and row after the last of masks [..., H, W]; zeros for an empty mask."""
    boxes = mask_extents(masks)
    boxes[..., 2:] += masks.any(axis=(-2, -1))[..., None]
    return boxes
