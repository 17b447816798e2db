"""Does tracking a long video cost more a frame, or more memory, than a short one?

    python -m benchmarks.online_length                      200 against 2000 frames of 192 x 320, instanceformer_toy
    python -m benchmarks.online_length --any-length         the same with tracks that begin and end at any time

Every length runs in a process of its own, with random weights, so that peaks can be compared. The first ten frames
(compiling) are left out of the times. Times are medians of a hundred frames; of the processor as well as of the clock,
because a neighbour on the machine slows the clock only.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import mindvideo  # noqa: F401, I001  prepares the environment before MindSpore is imported
from benchmarks.rows import append_rows
from mindvideo import load_config
from mindvideo.assembly.network import build_network, for_videos, tracker_of
from mindvideo.assembly.runtime import prepare_device

SETTLING = 10
PART = 100  # frames of which a median is taken


def measure(
    config: str, size: tuple[int, int], frames: int, *, any_length: bool
) -> dict[str, float | list[float] | int | None]:
    """Track noise that drifts; milliseconds a frame of each hundred, by clock and processor, and the peak in MB.

    With ``any_length`` every query begins a track, a gap ends it, and every 10th frame is another noise, in which the
    tracks are lost: hundreds of births.
    """
    tracks = ["inference.any_length=everywhere", "inference.min_birth=0", "inference.min_life=0", "inference.max_gap=1"]
    cfg = load_config(
        config, ["runtime.compile_after=0", *([*tracks, "inference.scene_cuts=nowhere"] if any_length else [])]
    )
    prepare_device(cfg)
    tracker: Any = for_videos(cfg, tracker_of(cfg, build_network(cfg)), evaluated=True)
    canvas = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    tracker.begin(size=size, num_frames=frames, video_id=0)
    other = np.random.default_rng(1).integers(0, 128, (*size, 3), np.uint8)
    times: list[tuple[float, float]] = []
    for index in range(frames):
        start = time.perf_counter(), time.process_time()
        tracker.feed(np.roll(other if any_length and index % 10 == 9 else canvas, index, axis=1))
        times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    tracker.finish()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    settled = 1e3 * np.array(times[SETTLING:])
    parts = [np.median(settled[start : start + PART], axis=0) for start in range(0, len(settled) - PART + 1, PART)]
    clock, processor = np.array(parts).T.tolist()
    return {
        "clock": clock,
        "processor": processor,
        "peak": peak,
        "births": tracker.tracks.births if any_length else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", default="instanceformer_toy")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 320), metavar=("H", "W"))
    parser.add_argument("--frames", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--any-length", action="store_true", help="tracks that begin and end at any time")
    parser.add_argument("--csv", type=Path, help="append the figures to this file")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        size, frames = tuple(arguments.size), arguments.frames[0]
        print(json.dumps(measure(arguments.config, size, frames, any_length=arguments.any_length)))
        return
    peaks = []
    for frames in arguments.frames:
        options = ["-c", arguments.config, "--size", *map(str, arguments.size), "--frames", str(frames), "--child"]
        options += ["--any-length"] * arguments.any_length
        finished = subprocess.run(
            [sys.executable, "-m", "benchmarks.online_length", *options], check=True, capture_output=True, text=True
        )
        result = json.loads(finished.stdout.splitlines()[-1])
        peaks.append(result["peak"])
        print(f"{frames} frames: peak {result['peak']:.0f} MB ({result['peak'] / peaks[0] - 1:+.1%} of the shortest)")
        row = {"config": arguments.config, "frames": frames, "peak_mb": round(result["peak"])}
        row["births"] = "" if result["births"] is None else result["births"]
        if result["births"] is not None:
            print(f"  {result['births']} tracks began")
        for name in ("clock", "processor"):
            parts = result[name]
            # The slope of a line through all hundreds: one slow hundred does not decide.
            slope = np.polyfit(np.arange(len(parts)), parts, 1)[0] * len(parts) if len(parts) > 1 else 0.0
            row[f"{name}_first_ms"], row[f"{name}_last_ms"] = round(parts[0], 1), round(parts[-1], 1)
            print(
                f"  {name}: {' '.join(f'{part:.0f}' for part in parts)} ms a frame, hundred by hundred; "
                f"from end to end {slope / np.mean(parts):+.1%}"
            )
        if arguments.csv:
            append_rows(arguments.csv, [row])


if __name__ == "__main__":
    main()
