"""Arrays in anonymous shared memory.

It comes from ``memfd_create``, which the size of /dev/shm (64 MB in many containers) does not bound.
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


def store_columns(descriptor: int, columns: Iterable[np.ndarray]) -> Layout:
    """Write arrays one after the other into shared memory, which grows as needed."""
    columns = list(columns)
    total = sum(aligned(column.nbytes) for column in columns)
    if os.fstat(descriptor).st_size < total:
        os.ftruncate(descriptor, total)
    offset = 0
    with mmap.mmap(descriptor, total) as memory:
        for column in columns:
            target = np.ndarray(column.shape, column.dtype, buffer=memory, offset=offset)
            np.copyto(target, column)
            offset += aligned(column.nbytes)
            del target  # an array that still looks at the memory would keep it from being unmapped
    return [(column.shape, column.dtype.str) for column in columns]


def copy_columns(descriptor: int, layout: Layout) -> tuple[np.ndarray, ...]:
    total = sum(aligned(int(np.prod(shape)) * np.dtype(dtype).itemsize) for shape, dtype in layout)
    copies, offset = [], 0
    with mmap.mmap(descriptor, total, prot=mmap.PROT_READ) as memory:
        for shape, dtype in layout:
            stored = np.ndarray(shape, np.dtype(dtype), buffer=memory, offset=offset)
            copies.append(stored.copy())
            offset += aligned(stored.nbytes)
            del stored
    return tuple(copies)


_MASKS, _LABELS, _EXISTS = (CLIP_BATCH_COLUMNS.index(name) for name in ("masks", "labels", "exists"))


def without_unused_rows(columns: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """The columns of a batch with the masks of the instances that any clip has; most of the bytes are padding."""
    used = int(columns[_EXISTS].sum(axis=1).max(initial=0))
    return (*columns[:_MASKS], columns[_MASKS][:, :used], *columns[_MASKS + 1 :])


def with_unused_rows(columns: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """The columns with the masks padded again to as many instances as there are labels."""
    given, N = columns[_MASKS], columns[_LABELS].shape[1]
    masks = np.zeros((len(given), N, *given.shape[2:]), np.uint8)
    masks[:, : given.shape[1]] = given
    return (*columns[:_MASKS], masks, *columns[_MASKS + 1 :])
