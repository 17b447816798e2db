"""Chosen rows and columns of a run-length encoded mask.

Two implementations of one signature: the compiled one of ``custom_ops``, which never makes the whole mask, and
pycocotools with NumPy. ``MINDVIDEO_OPS=reference`` forces the second.
"""

from __future__ import annotations

import ctypes
import functools
from typing import TYPE_CHECKING

import numpy as np
from pycocotools import mask as coco_mask

from mindvideo.native_library import find_function

if TYPE_CHECKING:  # it imports this module by way of run_lengths
    from mindvideo.masks.forms import Rle


def sample_mask(rle: Rle, rows: np.ndarray, columns: np.ndarray, result: np.ndarray) -> None:
    """Fill ``result`` uint8 [h, w], which holds zeros, with the mask at ``rows`` int64 [h] and ``columns`` int64 [w].

    Rows ascend (with repeats); columns come in any order.
    """
    native = native_sampling()
    if native is None:
        whole = coco_mask.decode(rle)  # [H, W], columns first in memory
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


@functools.cache
def native_sampling():
    """The compiled function, or None where there is none or it is not wanted."""
    pointer, number = ctypes.c_void_p, ctypes.c_int
    takes = [ctypes.c_char_p, ctypes.c_int64, number, number, pointer, number, pointer, number, pointer]
    return find_function("mindvideo_sample_runs", takes=takes, returns=ctypes.c_int)
