"""Makes the batches of an epoch by number, in any process."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mindvideo.data.clips.training import JointClips, TrainingClips
from mindvideo.data.feed.batch import Collate, Layout, fresh_columns
from mindvideo.data.feed.epoch_order import sample_generator


class BatchMaker:
    """Batches by number: the same (seed, epoch, samples) give the same arrays in any process."""

    def __init__(self, *, clips: TrainingClips | JointClips, collate: Collate, seed: int) -> None:
        self.clips = clips
        self.collate = collate
        self.seed = seed

    def make(
        self,
        epoch: int,
        indices: np.ndarray,
        columns_for: Callable[[Layout], list[np.ndarray]] = fresh_columns,
    ) -> tuple[list[np.ndarray], list[str]]:
        """(packed columns, lines about frames that could not be read); see :meth:`Collate.pack`."""
        made = [self.clips.sample(int(index), sample_generator(self.seed, epoch, int(index))) for index in indices]
        broken = [line for _, lines in made for line in lines]
        return self.collate.pack([clip for clip, _ in made], columns_for), broken
