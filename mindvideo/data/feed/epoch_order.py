"""The order of an epoch: deterministic in (seed, epoch), cut into batches, shared out over ranks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mindvideo.errors import UserError

ORDER_STREAM = 0  # random streams of one (seed, epoch): the order of the samples, and one for each sample
SAMPLE_STREAM = 1


def sample_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator of one sample in one epoch. It does not depend on the worker, the rank or the batch."""
    return np.random.default_rng(np.random.SeedSequence([seed, epoch, SAMPLE_STREAM, index]))


class EpochOrder:
    """Decides which samples make which batch of an epoch.

    ``groups`` [number of samples]: samples of one batch have the same group number (clips of similar shape), except
    that the leftovers of the groups are put together. ``shard`` is (rank, number of ranks): the batches of an epoch
    are dealt to the ranks in turn, so the ranks part them among themselves and no two see the same sample. What does
    not fill a batch on every rank is left out of that epoch (another part each time).
    """

    def __init__(
        self,
        *,
        num_samples: int,
        batch_size: int,
        seed: int,
        shard: tuple[int, int] = (0, 1),
        groups: Sequence[int] | None = None,
        shuffle: bool = True,
    ) -> None:
        self.rank, self.num_ranks = shard
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.num_samples = num_samples
        self.groups = np.zeros(num_samples, np.int64) if groups is None else np.asarray(groups)
        self.batches_per_epoch = num_samples // batch_size // self.num_ranks
        if self.batches_per_epoch == 0:
            raise UserError(
                f"{num_samples} samples do not fill one batch of {batch_size} on each of {self.num_ranks} processes; "
                "use a smaller batch or more data"
            )

    def batches(self, epoch: int) -> np.ndarray:
        """int64 [batches_per_epoch, batch_size] of sample numbers for this rank."""
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, epoch, ORDER_STREAM]))
        order = rng.permutation(self.num_samples) if self.shuffle else np.arange(self.num_samples)
        whole, leftovers = [], []
        for group in np.unique(self.groups):
            members = order[self.groups[order] == group]
            filled = len(members) // self.batch_size * self.batch_size
            whole.append(members[:filled].reshape(-1, self.batch_size))
            leftovers.append(members[filled:])
        rest = np.concatenate(leftovers)
        filled = len(rest) // self.batch_size * self.batch_size
        batches = np.concatenate([*whole, rest[:filled].reshape(-1, self.batch_size)])
        if self.shuffle:
            batches = rng.permutation(batches)
        usable = self.batches_per_epoch * self.num_ranks
        return batches[:usable][self.rank :: self.num_ranks]
