"""How long a video takes SeqFormer or MS-STS VIS: encoding its frames, then deciding over all of them.

    python -m benchmarks.sequence_model                                    R50, 16 frames of 360 x 640
    python -m benchmarks.sequence_model -c mssts_ytvis2019_r50 --size 360 640 --frames 16

The encoder of MS-STS VIS sees the frames together, so it counts among the deciding.

The tracker that inference runs, with weights as they are initialised, from bytes to masks at stride 4 as run-length
codes. The first video, which compiles, does not count.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from pathlib import Path

import numpy as np

import mindvideo  # noqa: F401, I001  prepares the environment before MindSpore is imported
from benchmarks.model import peak_gigabytes
from benchmarks.rows import append_rows
from mindvideo import load_config
from mindvideo.assembly.network import build_network, tracker_of
from mindvideo.assembly.runtime import prepare_device


def seconds_of_video(tracker, frames: np.ndarray) -> tuple[float, float]:
    """(encoding the frames, deciding)."""
    start = time.perf_counter()
    tracker.begin(size=frames.shape[1:3], num_frames=len(frames), video_id=0)
    for frame in frames:
        tracker.feed(frame)
    encoded = time.perf_counter()
    tracker.finish()
    return encoded - start, time.perf_counter() - encoded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", default="seqformer_ytvis2019_r50")
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    arguments = parser.parse_args()
    cfg = load_config(arguments.config, ["inference.short_side=null", "runtime.compile_after=0"])
    window_frames = cfg[cfg.family].window_frames
    if arguments.frames > window_frames:
        parser.error(f"--frames {arguments.frames}: at most the {window_frames} that are seen together")
    prepare_device(cfg)
    tracker = tracker_of(cfg, build_network(cfg))
    frames = np.random.default_rng(0).integers(0, 256, (arguments.frames, *arguments.size, 3)).astype(np.uint8)
    seconds_of_video(tracker, frames)
    timings = [seconds_of_video(tracker, frames) for _ in range(arguments.rounds)]
    encoding, deciding = (float(np.median(part)) / arguments.frames for part in zip(*timings))
    row = {
        "config": arguments.config,
        "size": "x".join(map(str, arguments.size)),
        "frames": arguments.frames,
        "encoding_seconds_a_frame": round(encoding, 3),
        "deciding_seconds_a_frame": round(deciding, 3),
        "peak_gb": round(peak_gigabytes(), 2),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "mindvideo": mindvideo.__version__,
    }
    print(row)
    if arguments.csv:
        append_rows(arguments.csv, [row])


if __name__ == "__main__":
    main()
