"""One process of a distributed run over tiny data: the same network in each, its own part of every batch."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import mindspore as ms
import numpy as np

from mindvideo.training.distributed import MeanOverRanks, follow_first, meet, start_distributed
from mindvideo.training.trainer import TrainerOptions
from tests.training.tiny_run import TinyNetwork, TinySource, tiny_step, tiny_trainer

SIGNALLED_STEP = 4


def main() -> None:
    folder = Path(sys.argv[1])
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_device("CPU")
    ranks = start_distributed()
    source = TinySource(batches=5, B=4, shard=(ranks.rank, ranks.world_size))
    network = TinyNetwork(dropout=0.0)
    step = tiny_step(network=network, adversarial=True, clip_norm=1.0, reduce_count=MeanOverRanks())
    if ranks.rank == 1:
        signal_at(source, SIGNALLED_STEP)
    options = TrainerOptions(epochs=4, log_every=1, checkpoint_every=2)
    trainer = tiny_trainer(folder, source=source, step=step, network=network, options=options)
    outcome = trainer.run()
    values = {p.name: p.asnumpy() for p in step.get_parameters()}
    own = ms.Parameter(ms.Tensor([0.1 + ranks.rank, 3.0], ms.float32), name="own")
    follow_first([own])  # as before a validation that all share
    meet()
    values["own"] = own.asnumpy()
    np.savez(folder / f"rank{ranks.rank}.npz", steps=outcome.steps, **values)


def signal_at(source: TinySource, step: int) -> None:
    """Send this process a SIGTERM when it makes the batch of that step."""
    make = source.batch

    def batch(epoch: int, position: int) -> tuple:
        if epoch * source.num_batches + position + 1 == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return make(epoch, position)

    source.batch = batch


if __name__ == "__main__":
    main()
