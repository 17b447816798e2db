"""The columns of a batch in anonymous shared memory, as one process writes them and another reads them.

The memory comes from ``memfd_create``, which the size of /dev/shm (64 MB in many containers) does not bound.
"""

from __future__ import annotations

import mmap
import os
import tempfile

import numpy as np

from mindvideo.data.feed.batch import Layout


def open_shared_memory() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("mindvideo-batch")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def aligned(size: int) -> int:
    return -(-size // 64) * 64


class SharedColumns:
    """Arrays in the memory of one file descriptor, which stays mapped: fetching its pages costs as much as a copy.

    The memory grows to the largest batch and is kept until :meth:`close`.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = np.zeros(0, np.uint8)

    def reserve(self, layout: Layout) -> list[np.ndarray]:
        """Arrays to write a batch to, one after the other in the memory."""
        size = _size_of(layout)
        if os.fstat(self.descriptor).st_size < size:
            os.ftruncate(self.descriptor, size)
        return self.views(layout)

    def views(self, layout: Layout) -> list[np.ndarray]:
        """The arrays where they lie: valid until the other side writes the next ones."""
        if self._memory.size < _size_of(layout):
            self._memory = np.frombuffer(mmap.mmap(self.descriptor, 0), np.uint8)  # the whole file
        views, offset = [], 0
        for shape, dtype in layout:
            view: np.ndarray = np.ndarray(shape, np.dtype(dtype), buffer=self._memory, offset=offset)
            views.append(view)
            offset += aligned(view.nbytes)
        return views

    def close(self) -> None:
        self._memory = np.zeros(0, np.uint8)
        os.close(self.descriptor)


def _size_of(layout: Layout) -> int:
    return sum(aligned(int(np.prod(shape)) * np.dtype(dtype).itemsize) for shape, dtype in layout)
