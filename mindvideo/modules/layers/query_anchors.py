"""A grid of places on which the queries of a clip start, in place of random queries."""

from __future__ import annotations

import math

import numpy as np

# Part of its grid cell that a query's first box covers in each direction.
BOX_SHARE = 0.8


def anchor_centres(rows: int, columns: int) -> np.ndarray:
    """Centres (x, y) of the cells of a grid over the frame, row by row: [rows * columns, 2]."""
    y, x = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=-1)


def anchor_boxes(rows: int, columns: int) -> np.ndarray:
    """Boxes cxcywh around the centres: [rows * columns, 4]."""
    centres = anchor_centres(rows, columns)
    sizes = np.broadcast_to([BOX_SHARE / columns, BOX_SHARE / rows], centres.shape)
    return np.concatenate([centres, sizes], axis=-1)


def anchor_codes(rows: int, columns: int, *, num_frames: int, width: int, temperature: float = 10000.0) -> np.ndarray:
    """The 3-D sine code that a token at each centre would have, float32 [num_frames, rows * columns, width]."""
    features = width // 3
    frequencies = temperature ** (2 * np.arange(features // 2) / features)

    def code(fractions: np.ndarray) -> np.ndarray:
        angles = fractions[:, None] * 2 * math.pi / frequencies
        return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(fractions), features)

    centres = anchor_centres(rows, columns)
    time = code((np.arange(num_frames) + 1) / num_frames)
    place = np.concatenate([code(centres[:, 1]), code(centres[:, 0])], axis=-1)  # y, then x
    shape = (num_frames, len(centres))
    parts = (time[:, None].repeat(shape[1], axis=1), place[None].repeat(num_frames, axis=0))
    return np.concatenate(parts, axis=-1).astype(np.float32)
