"""Resizing of pictures, part by part, with Pillow's antialiased bilinear filter.

Two implementations with one signature and equal pixels: the compiled one of ``custom_ops``, which
computes only the part that is wanted, and Pillow itself, which resizes the whole picture. ``MINDVIDEO_OPS=reference``
forces the second.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import math
from typing import Any

import numpy as np
from PIL import Image

from mindvideo.native_library import find_function


@dataclasses.dataclass(frozen=True)
class Region:
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right``, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        return self.bottom - self.top, self.right - self.left

    def moved(self, rows: int, columns: int) -> Region:
        return Region(self.top + rows, self.bottom + rows, self.left + columns, self.right + columns)

    def of(self, frame: np.ndarray) -> np.ndarray:
        return frame[self.top : self.bottom, self.left : self.right]


def source_region(size: tuple[int, int], new_size: tuple[int, int], wanted: Region) -> Region:
    """The part of a picture of ``size`` that is needed for the part ``wanted`` of it resized to ``new_size``."""
    if _native_resize() is None:
        # Pillow can resize a part, but takes its bounds in single precision, which moves some pixels by one level.
        return Region(0, size[0], 0, size[1])
    top, bottom = _source_span(size[0], new_size[0], wanted.top, wanted.bottom)
    left, right = _source_span(size[1], new_size[1], wanted.left, wanted.right)
    return Region(top, bottom, left, right)


def _source_span(length: int, new_length: int, start: int, end: int) -> tuple[int, int]:
    scale = length / new_length
    reach = max(scale, 1.0) + 1  # the triangle filter's half width, and one for rounding
    return max(0, math.floor(start * scale - reach)), min(length, math.ceil(end * scale + reach))


def resize_part(
    part: np.ndarray,
    size: tuple[int, int],
    given: Region,
    new_size: tuple[int, int],
    wanted: Region,
    result: np.ndarray | None = None,
) -> np.ndarray:
    """Part ``wanted`` of a picture resized from ``size`` to ``new_size``, from its part ``given``, uint8 [h, w, 3].

    The pixels are those of resizing the whole picture with Pillow. They are written to ``result``, a packed array, or
    to a new one.
    """
    if result is None:
        result = np.empty((*wanted.size, 3), np.uint8)
    native = _native_resize()
    if native is None:
        picture = Image.fromarray(np.ascontiguousarray(part))
        result[:] = wanted.of(np.asarray(picture.resize((new_size[1], new_size[0]), Image.Resampling.BILINEAR)))
        return result
    if part.strides[1:] != (3, 1):
        part = np.ascontiguousarray(part)
    lacking = native(
        part.ctypes.data,
        part.strides[0],
        *(given.top, given.left, *part.shape[:2], *size, *new_size),
        *(wanted.top, wanted.bottom, wanted.left, wanted.right),
        result.ctypes.data,
    )
    if lacking:
        raise ValueError(f"{given} of a picture of {size} does not hold what {wanted} of {new_size} is made from")
    return result


@functools.cache
def _native_resize() -> Any:
    """The compiled function; None where it is not built or not wanted."""
    takes = [ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_int] * 12, ctypes.c_void_p]
    return find_function("mindvideo_resize_rgb", takes=takes, returns=ctypes.c_int)
