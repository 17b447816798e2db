"""The masks of a clip, decoded when their pixels are asked for.

Flips, crops and nearest-neighbour resizes only choose rows and columns, so all of them together are one choice of rows
and columns of the decoded mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from mindvideo.data.resize import nearest_indices
from mindvideo.data.segmentation import Rle


class ClipMasks:
    """Masks of N instances in T frames of one size. ``runs`` [N][T]: RLE, or None for an empty mask."""

    def __init__(self, runs: Sequence[Sequence[Rle | None]], num_frames: int, size: tuple[int, int]) -> None:
        self._runs = [list(track) for track in runs]
        self.num_frames = num_frames
        self._rows = np.arange(size[0])
        self._columns = np.arange(size[1])
        self._pixels: np.ndarray | None = None

    @classmethod
    def of_pixels(cls, pixels: np.ndarray) -> ClipMasks:
        """Masks that are in memory already, 0 and 1, [N, T, H, W]."""
        runs = [[coco_mask.encode(np.asfortranarray(mask, np.uint8)) for mask in track] for track in pixels]
        return cls(runs, pixels.shape[1], pixels.shape[2:])

    def __len__(self) -> int:
        return len(self._runs)

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

    def _choose(self, rows: np.ndarray, columns: np.ndarray) -> None:
        self._rows, self._columns = rows, columns
        self._pixels = None

    def reverse(self) -> None:
        """Last frame first."""
        self._runs = [track[::-1] for track in self._runs]
        self._pixels = None if self._pixels is None else self._pixels[:, ::-1]

    def keep(self, kept: np.ndarray) -> None:
        """Keep the instances selected by a bool [N] or an index array."""
        self._runs = [self._runs[n] for n in np.arange(len(self._runs))[kept]]
        self._pixels = None if self._pixels is None else self._pixels[kept]

    def pixels(self) -> np.ndarray:
        """uint8 [N, T, H, W] of 0 and 1."""
        if self._pixels is None:
            N, T, (H, W) = len(self._runs), self.num_frames, self.size
            pixels = np.zeros((N, T, W, H), np.uint8)  # columns first, as the runs go
            for n, track in enumerate(self._runs):
                self._decode_track(track, pixels[n])
            self._pixels = np.ascontiguousarray(pixels.transpose(0, 1, 3, 2))
        return self._pixels

    def _decode_track(self, track: Sequence[Rle | None], target: np.ndarray) -> None:
        """Fill [T, W, H]; the masks of one instance are decoded in one call."""
        filled = [t for t, rle in enumerate(track) if rle is not None]
        if filled:
            planes = coco_mask.decode([track[t] for t in filled]).transpose(2, 1, 0)  # [K, width, height], no copy
            target[filled] = planes[:, self._columns][:, :, self._rows]
