"""The training data as a MindSpore data set. No other file of the data rooms imports MindSpore."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import mindspore.dataset as ms_dataset
import numpy as np

from mindvideo.data.clips.training import JointClips, TrainingClips
from mindvideo.data.feed.batch import Collate
from mindvideo.data.feed.epoch_order import EpochOrder
from mindvideo.data.feed.maker import BatchMaker
from mindvideo.data.feed.worker_pool import WorkerPool
from mindvideo.structures.clip import CLIP_BATCH_COLUMNS

PREFETCHED_BATCHES = 2  # MindSpore's default of 16 would hold a gigabyte of clips
_log = logging.getLogger("mindvideo.data")


class BatchSource:
    """Yields the columns of one epoch's batches each time it is iterated; the epochs follow one another.

    ``seek(epoch, position)`` makes the next iteration start there. ``skipped`` counts the broken frames met so far.
    """

    def __init__(self, *, order: EpochOrder, maker: BatchMaker, num_workers: int, start: tuple[int, int]) -> None:
        self.order = order
        self.pool = WorkerPool(maker=maker, num_workers=num_workers)
        self.skipped = 0
        self._reported: set[str] = set()
        self.seek(*start)

    # Without __len__ on purpose: MindSpore holds a generator to its length, and a resumed epoch is shorter.

    def __deepcopy__(self, memo: dict[int, Any]) -> BatchSource:
        """Not copied: MindSpore copies a data set for each iteration, and all copies go on in the same epochs."""
        return self

    def seek(self, epoch: int, position: int = 0) -> None:
        """Start the next iteration at batch ``position`` of ``epoch``; a position at the end is the next epoch."""
        further, position = divmod(position, self.order.batches_per_epoch)
        self.epoch, self.position = epoch + further, position

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        epoch, position = self.epoch, self.position
        self.seek(epoch + 1)
        batches = self.order.batches(epoch)
        for batch, broken in self.pool.run((epoch, indices) for indices in batches[position:]):
            self._report(broken)
            yield batch.columns()

    def _report(self, broken: list[str]) -> None:
        self.skipped += len(broken)
        for line in broken:
            if line not in self._reported:
                self._reported.add(line)
                _log.warning("%s; another clip takes its place (%d skipped so far)", line, self.skipped)


def load_loader(
    clips: TrainingClips | JointClips,
    *,
    collate: Collate,
    batch_size: int,
    seed: int,
    num_workers: int = 0,
    shard: tuple[int, int] = (0, 1),
    start: tuple[int, int] = (0, 0),
    shuffle: bool = True,
) -> ms_dataset.GeneratorDataset:
    """A data set whose rows are the columns of :class:`ClipBatch`, in that order.

    ``start`` is (epoch, batch) of the first batch: a run resumed there sees what it would have seen. ``shard`` is
    (rank, number of ranks). The returned object's ``batch_source`` is its :class:`BatchSource`.
    """
    groups = [int(height > width) for height, width in map(clips.frame_size, range(len(clips)))]
    order = EpochOrder(
        num_samples=len(clips), batch_size=batch_size, seed=seed, shard=shard, groups=groups, shuffle=shuffle
    )
    maker = BatchMaker(clips=clips, collate=collate, seed=seed)
    source = BatchSource(order=order, maker=maker, num_workers=num_workers, start=start)
    ms_dataset.config.set_prefetch_size(PREFETCHED_BATCHES)
    dataset = ms_dataset.GeneratorDataset(
        source,
        column_names=list(CLIP_BATCH_COLUMNS),
        shuffle=False,  # the order is ours
        num_parallel_workers=1,
        python_multiprocessing=False,
    )
    dataset.dataset_size = order.batches_per_epoch  # else MindSpore runs an epoch to count
    dataset.batch_source = source
    return dataset
