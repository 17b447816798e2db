"""Chosen rows and columns of a run-length encoded mask.

Two implementations of one signature: the compiled one of ``custom_ops``, which never makes the whole mask, and
pycocotools with NumPy. ``MINDVIDEO_OPS=reference`` forces the second.
"""

from __future__ import annotations

import numpy as np

from mindvideo.masks.native import native_sampling
from mindvideo.masks.rle import Rle, decode_mask


def sample_mask(rle: Rle, rows: np.ndarray, columns: np.ndarray, result: np.ndarray) -> None:
    """Fill ``result`` uint8 [h, w], which holds zeros, with the mask at ``rows`` int64 [h] and ``columns`` int64 [w].

    Rows ascend (with repeats); columns come in any order.
    """
    native = native_sampling()
    if native is None:
        whole = decode_mask(rle)  # [H, W], columns first in memory
        result[:] = whole.T[columns][:, rows].T
        return
    counts = rle["counts"]
    height, width = rle["size"]
    broken = native(
        *(counts, len(counts), height, width),
        *(rows.ctypes.data, len(rows), columns.ctypes.data, len(columns)),
        result.ctypes.data,
    )
    if broken:
        raise ValueError(f"the runs of a mask do not cover its {height} x {width} pixels (height x width)")


def nearest_indices(length: int, new_length: int) -> np.ndarray:
    """The position below ``length`` that each of ``new_length`` takes: floor of position times scale, in float32."""
    scale = np.float32(length) / np.float32(new_length)
    indices = np.floor(np.arange(new_length, dtype=np.float32) * scale).astype(np.int64)
    return np.minimum(indices, length - 1)
