"""Resizing: Pillow's antialiased bilinear for pictures, part by part; nearest neighbour for masks."""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image


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
    """The part of a picture of ``size`` that is asked for to make the part ``wanted`` of it resized to ``new_size``.

    The whole picture: Pillow can resize a part, but takes its bounds in single precision, which moves some pixels by
    one level.
    """
    return Region(0, size[0], 0, size[1])


def resize_part(
    part: np.ndarray, size: tuple[int, int], given: Region, new_size: tuple[int, int], wanted: Region
) -> np.ndarray:
    """Part ``wanted`` of a picture resized from ``size`` to ``new_size``, from its part ``given``, uint8 [h, w, 3].

    The pixels are those of resizing the whole picture with Pillow.
    """
    picture = Image.fromarray(np.ascontiguousarray(part))
    return wanted.of(np.asarray(picture.resize((new_size[1], new_size[0]), Image.Resampling.BILINEAR)))


def nearest_indices(length: int, new_length: int) -> np.ndarray:
    """Which of ``length`` positions each of ``new_length`` takes: floor of position times scale, in float32."""
    scale = np.float32(length) / np.float32(new_length)
    indices = np.floor(np.arange(new_length, dtype=np.float32) * scale).astype(np.int64)
    return np.minimum(indices, length - 1)
