"""The columns of a batch in anonymous shared memory, as one process writes them and another reads them.

The memory comes from ``memfd_create``, which the size of /dev/shm (64 MB in many containers) does not bound.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterable

import numpy as np

from mindvideo.structures.clip import CLIP_BATCH_COLUMNS

Layout = list[tuple[tuple[int, ...], str]]  # shape and dtype of each column, stored one after the other


def open_shared_memory() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("mindvideo-batch")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def aligned(size: int) -> int:
    return -(-size // 64) * 64


class SharedColumns:
    """Arrays in the memory behind one file descriptor, which stays mapped: fetching its pages costs as much as a copy.

    The memory grows to the largest batch and is kept until :meth:`close`.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = np.zeros(0, np.uint8)

    def store(self, columns: Iterable[np.ndarray]) -> Layout:
        columns = list(columns)
        layout: Layout = [(column.shape, column.dtype.str) for column in columns]
        size = _size_of(layout)
        if os.fstat(self.descriptor).st_size < size:
            os.ftruncate(self.descriptor, size)
        for target, column in zip(self.views(layout), columns):
            np.copyto(target, column)
        return layout

    def views(self, layout: Layout) -> list[np.ndarray]:
        """The stored arrays where they lie: valid until the other side stores the next ones."""
        if self._memory.size < _size_of(layout):
            self._memory = np.frombuffer(mmap.mmap(self.descriptor, 0), np.uint8)  # the whole file
        views, offset = [], 0
        for shape, dtype in layout:
            view = np.ndarray(shape, np.dtype(dtype), buffer=self._memory, offset=offset)
            views.append(view)
            offset += aligned(view.nbytes)
        return views

    def close(self) -> None:
        self._memory = np.zeros(0, np.uint8)
        os.close(self.descriptor)


def _size_of(layout: Layout) -> int:
    return sum(aligned(int(np.prod(shape)) * np.dtype(dtype).itemsize) for shape, dtype in layout)


_MASKS, _LABELS, _EXISTS = (CLIP_BATCH_COLUMNS.index(name) for name in ("masks", "labels", "exists"))


def without_unused_rows(columns: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """The columns of a batch with the masks of the instances that any clip has; most of the bytes are padding."""
    used = int(columns[_EXISTS].sum(axis=1).max(initial=0))
    return (*columns[:_MASKS], columns[_MASKS][:, :used], *columns[_MASKS + 1 :])


def copied_with_unused_rows(columns: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Copies of the columns, the masks padded again to as many instances as there are labels."""
    given, N = columns[_MASKS], columns[_LABELS].shape[1]
    masks = np.zeros((len(given), N, *given.shape[2:]), np.uint8)
    masks[:, : given.shape[1]] = given
    return tuple(masks if place == _MASKS else column.copy() for place, column in enumerate(columns))
