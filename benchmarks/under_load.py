"""The cost of one busy neighbour to an online model: frames a second of a toy, by itself and beside a busy process.

    python -m benchmarks.under_load                    both ways of waiting, 15 seconds each
    python -m benchmarks.under_load --cores 1          all of it on one core
    python -m benchmarks.under_load --seconds 30 --csv benchmarks/under_load.csv

Each figure comes from a process of its own. "MindSpore's own" sets MINDVIDEO_BUSY_WAIT=1; "patient" is what the package
does, see custom_ops/cpu/patient_wait.cpp. The first and the last figure have no neighbour, in the order of the table.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.rows import append_rows

WAYS = {"MindSpore's own": "1", "patient": "0"}
FRAME = """
import sys, time
import mindvideo
import mindspore as ms
import numpy as np
from mindvideo import load_config
from mindvideo.assembly.network import build_network
from mindvideo.assembly.runtime import prepare_device
from mindvideo.models.registry import card_of

cfg = load_config("instanceformer_toy", ["runtime.compile_after=0"])
prepare_device(cfg)
network = build_network(cfg).set_train(False)
frames = np.random.default_rng(0).integers(0, 256, (8, 96, 160, 3), np.uint8)
tracker = card_of(cfg.family).build_tracker(cfg, network)
tracker.begin(size=(96, 160), num_frames=10**6, video_id=1)
tracker.feed(frames[0])
began, count = time.perf_counter(), 0
while time.perf_counter() - began < float(sys.argv[1]):
    tracker.feed(frames[count % 8])
    count += 1
print(count / (time.perf_counter() - began))
"""


def frames_per_second(way: str, *, neighbour: bool, seconds: float) -> float:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if neighbour else None
    try:
        done = subprocess.run(
            [sys.executable, "-c", FRAME, str(seconds)], capture_output=True, text=True, check=True,
            env={**os.environ, "MINDVIDEO_BUSY_WAIT": WAYS[way]},
        )  # fmt: skip
    finally:
        if busy is not None:
            busy.kill()
            busy.wait()
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0, help="length of one measurement")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="that the model and its neighbour share")
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: arguments.cores]))
    print(f"{arguments.cores} cores, load {os.getloadavg()[0]:.1f}, instanceformer_toy at 96 x 160, frames a second")
    print(f"{'waiting':16} {'alone':>8} {'neighbour':>10} {'cost':>6}")
    for way in WAYS:
        alone, beside = (
            frames_per_second(way, neighbour=neighbour, seconds=arguments.seconds) for neighbour in (False, True)
        )
        print(f"{way:16} {alone:8.1f} {beside:10.1f} {alone / beside:6.1f}", flush=True)
        if arguments.csv is not None:
            row = {
                "waiting": way,
                "cores": arguments.cores,
                "alone": round(alone, 1),
                "beside": round(beside, 1),
                "cost": round(alone / beside, 1),
            }
            append_rows(arguments.csv, [row])


if __name__ == "__main__":
    main()
