"""The masks of a clip, decoded when their pixels are asked for.

Flips, crops and nearest-neighbour resizes only choose rows and columns, so all of them together are one choice of rows
and columns of the decoded mask. A warp is none of these; it is done at once, and the choice begins anew.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import cv2
import numpy as np

from mindvideo.masks.rle import Rle
from mindvideo.masks.sampling import nearest_indices, sample_mask


class ClipMasks:
    """Masks of N instances in T frames of one size. ``tracks`` [N][T]: RLE, or None for an empty mask; or arrays."""

    def __init__(
        self, tracks: Sequence[Sequence[Rle | None] | np.ndarray], num_frames: int, size: tuple[int, int]
    ) -> None:
        self._tracks = list(tracks)
        self.num_frames = num_frames
        self._rows = np.arange(size[0])
        self._columns = np.arange(size[1])
        self._pixels: np.ndarray | None = None

    @classmethod
    def of_pixels(cls, pixels: np.ndarray) -> ClipMasks:
        """Masks that are in memory already, uint8 [N, T, H, W] of 0 and 1."""
        return cls(list(pixels), pixels.shape[1], (pixels.shape[2], pixels.shape[3]))

    def __len__(self) -> int:
        return len(self._tracks)

    @property
    def size(self) -> tuple[int, int]:
        return len(self._rows), len(self._columns)

    def mirror(self) -> None:
        self._choose(self._rows, self._columns[::-1])

    def crop(self, top: int, left: int, height: int, width: int) -> None:
        self._choose(self._rows[top : top + height], self._columns[left : left + width])

    def resize(self, height: int, width: int) -> None:
        rows = self._rows[nearest_indices(len(self._rows), height)]
        self._choose(rows, self._columns[nearest_indices(len(self._columns), width)])

    def warp(self, matrix: np.ndarray) -> None:
        """Under ``matrix`` [2, 3] (from here to there), by nearest neighbour. The pixels are computed now."""
        height, width = self.size
        pixels = np.zeros((len(self), self.num_frames, height, width), np.uint8)
        for track, target in zip(self.pixels(), pixels):
            for mask, place in zip(track, target):
                cv2.warpAffine(mask, matrix, (width, height), dst=place, flags=cv2.INTER_NEAREST)
        self._tracks, self._rows, self._columns = list(pixels), np.arange(height), np.arange(width)
        self._pixels = pixels

    def _choose(self, rows: np.ndarray, columns: np.ndarray) -> None:
        self._rows, self._columns = rows, columns
        self._pixels = None

    def reverse(self) -> None:
        """Last frame first."""
        self._tracks = [track[::-1] for track in self._tracks]
        self._pixels = None if self._pixels is None else self._pixels[:, ::-1]

    def keep(self, kept: np.ndarray) -> None:
        """Keep the instances selected by a bool [N] or an index array."""
        self._tracks = [self._tracks[n] for n in np.arange(len(self._tracks))[kept]]
        self._pixels = None if self._pixels is None else self._pixels[kept]

    def sampled(self, stride: int) -> np.ndarray:
        """uint8 [N, T, h, w]: every ``stride``-th row and column, from the middle of the first ``stride`` on."""
        if stride == 1 or self._pixels is not None:
            return self.pixels()[..., stride // 2 :: stride, stride // 2 :: stride]
        chosen = copy.copy(self)
        chosen._choose(self._rows[stride // 2 :: stride], self._columns[stride // 2 :: stride])
        return chosen.pixels()

    def pixels(self) -> np.ndarray:
        """uint8 [N, T, H, W] of 0 and 1."""
        if self._pixels is None:
            pixels = np.zeros((len(self), self.num_frames, *self.size), np.uint8)
            rows, columns = np.ascontiguousarray(self._rows), np.ascontiguousarray(self._columns)
            for track, target in zip(self._tracks, pixels):
                if isinstance(track, np.ndarray):
                    target[:] = track[:, rows][:, :, columns]
                    continue
                for rle, mask in zip(track, target):
                    if rle is not None:
                        sample_mask(rle, rows, columns, mask)
            self._pixels = pixels
        return self._pixels
