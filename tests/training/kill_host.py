"""Trains in children of a process that has imported everything, and kills them at random moments.

Importing takes longer than the training itself, so it is done once: each child is forked before MindSpore has started
a thread. A child writes a checkpoint after every step, which keeps it writing for a good part of its time; a kill
therefore often falls into a write. Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import mindspore as ms
import numpy as np

from mindvideo.training.trainer import TrainerOptions
from tests.training.tiny_run import TinyNetwork, tiny_trainer

STEPS = 300
OPTIONS = TrainerOptions(epochs=STEPS // 5, log_every=50, checkpoint_every=1, keep_checkpoints=2)


def train(folder: Path, started: int) -> None:
    """One child: take the run up where it is, and dump the final parameters."""
    ms.set_context(mode=ms.GRAPH_MODE)
    network = TinyNetwork(dropout=0.3)
    # Ballast, so that a write takes about as long as a step.
    network.unused = ms.Parameter(ms.Tensor(np.zeros(300_000, np.float32)), name="unused", requires_grad=False)
    trainer = tiny_trainer(folder, options=OPTIONS, network=network)
    trainer.resume()
    os.write(started, b"s")
    trainer.run()
    values = {p.name: p.asnumpy() for p in trainer.step.get_parameters()}
    np.savez(folder / "final.npz", **values)


def fork_training(folder: Path) -> tuple[int, int]:
    """(process id, pipe that speaks when the child is about to compile)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    code = 1
    try:
        train(folder, writing)
        code = 0
    finally:
        os._exit(code)


def kill_at_random(folder: Path, *, kills: int, rng: random.Random) -> list[dict]:
    """Where each kill fell: steps done so far, and whether a file was half written."""
    moments = []
    for number in range(kills):
        child, reading = fork_training(folder)
        newest = newest_step(folder)
        if number % 5:  # one in five dies before its first step, at any moment of its start
            os.read(reading, 1)
            while newest_step(folder) == newest and os.waitpid(child, os.WNOHANG) == (0, 0):
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.15))
        else:
            time.sleep(rng.uniform(0, 1.0))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(reading)
        moments.append(
            {
                "step": newest_step(folder),
                "killed": os.WIFSIGNALED(status),
                "half_written": len(list((folder / "checkpoints").glob(".step_*"))),
            }
        )
    return moments


def newest_step(folder: Path) -> int:
    steps = [int(path.stem.split("_")[1]) for path in (folder / "checkpoints").glob("step_*.state")]
    return max(steps, default=0)


def run_to_the_end(folder: Path) -> int:
    child, reading = fork_training(folder)
    _, status = os.waitpid(child, 0)
    os.close(reading)
    return os.waitstatus_to_exitcode(status)


def main() -> None:
    root, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for name in ("whole", "killed"):
        (root / name).mkdir()
    codes = [run_to_the_end(root / "whole")]
    moments = kill_at_random(root / "killed", kills=kills, rng=random.Random(seed))
    codes.append(run_to_the_end(root / "killed"))
    sys.stdout.write(json.dumps({"codes": codes, "moments": moments}) + "\n")


if __name__ == "__main__":
    main()
