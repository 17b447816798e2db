"""How much faster inference is with products in bfloat16: one network in both precisions, in turns.

    python -m benchmarks.half_precision                                        InstanceFormer R50, 8 frames of 360 x 640
    python -m benchmarks.half_precision -c vistr --size 300 540 --frames 36

The tracker that inference runs with `inference.precision` fp32 and bf16, with the same weights as they are
initialised, from bytes to run-length codes. The first video of each, which compiles, does not count. It needs a
processor with AMX or AVX512-BF16.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import mindvideo  # noqa: F401, I001  prepares the environment before MindSpore is imported
from benchmarks.machine import processor
from benchmarks.rows import append_rows
from benchmarks.sequence_model import seconds_of_video
from mindvideo import load_config
from mindvideo.assembly.network import build_network, tracker_of
from mindvideo.assembly.runtime import prepare_device
from mindvideo.execution.precision import apply_precision
from mindvideo.ops.backend import half_instructions

PRECISIONS = ("fp32", "bf16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", default="instanceformer_ytvis2021_r50")
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    arguments = parser.parse_args()
    cfg = load_config(arguments.config, ["inference.short_side=null", "runtime.compile_after=0"])
    prepare_device(cfg)
    trackers, whole = {}, None
    for precision in PRECISIONS:
        network = build_network(cfg)
        if whole is not None:
            for mine, its in zip(network.get_parameters(), whole.get_parameters()):
                mine.set_data(its)
        whole = network
        apply_precision(network, precision, for_training=False)
        trackers[precision] = tracker_of(cfg, network)
    frames = np.random.default_rng(0).integers(0, 256, (arguments.frames, *arguments.size, 3)).astype(np.uint8)
    for tracker in trackers.values():
        seconds_of_video(tracker, frames)
    timings: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for _ in range(arguments.rounds):
        for precision, tracker in trackers.items():
            timings[precision].append(sum(seconds_of_video(tracker, frames)) / arguments.frames)
    fp32, bf16 = (float(np.median(timings[precision])) for precision in PRECISIONS)
    row = {
        "config": arguments.config,
        "size": "x".join(map(str, arguments.size)),
        "frames": arguments.frames,
        "fp32_seconds_a_frame": round(fp32, 3),
        "bf16_seconds_a_frame": round(bf16, 3),
        "times": round(fp32 / bf16, 2),
        "instructions": half_instructions(),
        "machine": processor(),
    }
    print(row)
    if arguments.csv:
        append_rows(arguments.csv, [row])


if __name__ == "__main__":
    main()
