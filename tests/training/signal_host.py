"""Trains tiny data and gets stuck in one phase of a run: ``signal_host.py PHASE FOLDER``; says so in FOLDER/stuck."""

from __future__ import annotations

import ctypes
import sys
import time
from pathlib import Path

import mindspore as ms

from mindvideo.logs import set_up_logging
from mindvideo.training.trainer import TrainerOptions
from tests.training.tiny_run import TinySource, tiny_trainer

STUCK_SECONDS = 60


def main() -> None:
    phase, folder = sys.argv[1], Path(sys.argv[2])
    set_up_logging("info", folder / "log.txt")
    ms.set_context(mode=ms.GRAPH_MODE)
    source = TinySource()

    def get_stuck(*_: object) -> None:
        (folder / "stuck").touch()
        if phase == "compile":
            ctypes.PyDLL(None).sleep(STUCK_SECONDS)  # as a compiler does: with Python's lock in its hands
        else:
            time.sleep(STUCK_SECONDS)

    if phase == "data":
        source.batch = get_stuck

    def evaluate(_network: object) -> dict[str, float]:
        get_stuck()
        return {"AP": 1.0}

    options = TrainerOptions(epochs=4, checkpoint_every=2, evaluate_every=3 if phase == "evaluate" else 0)
    trainer = tiny_trainer(folder, source=source, options=options, evaluate=evaluate)
    if phase == "compile":
        trainer.step.__class__ = type("Compiling", (trainer.step.__class__,), {"__call__": get_stuck})
    if phase == "write":
        trainer.checkpoints.save = get_stuck
    trainer.run()


if __name__ == "__main__":
    main()
