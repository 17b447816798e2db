"""Does tracking a long video cost more a frame, or more memory, than a short one?

    python benchmarks/online_length.py                      200 against 2000 frames of 192 x 320, instanceformer_toy

Every length runs in a process of its own, with random weights, so that peaks can be compared. The first ten frames
(compiling) are left out of the times.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mindvideo  # noqa: E402, F401, I001  prepares the environment before MindSpore is imported

import numpy as np  # noqa: E402

from mindvideo.build.network import build_network, tracker_of  # noqa: E402
from mindvideo.build.runtime import prepare_device  # noqa: E402
from mindvideo.config import load_config  # noqa: E402

SETTLING = 10


def measure(config: str, size: tuple[int, int], frames: int) -> dict[str, float]:
    """Track noise that drifts; seconds a frame of the first and last hundred, and the peak of memory in MB."""
    cfg = load_config(config)
    prepare_device(cfg)
    tracker = tracker_of(cfg, build_network(cfg))
    canvas = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    tracker.begin(size=size, num_frames=frames, video_id=0)
    times = []
    for index in range(frames):
        start = time.perf_counter()
        tracker.feed(np.roll(canvas, index, axis=1))
        times.append(time.perf_counter() - start)
    tracker.finish()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    first, last = times[SETTLING : SETTLING + 100], times[-100:]
    return {"first": float(np.median(first)), "last": float(np.median(last)), "peak": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", default="instanceformer_toy")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 320), metavar=("H", "W"))
    parser.add_argument("--frames", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.config, tuple(arguments.size), arguments.frames[0])))
        return
    peaks = []
    for frames in arguments.frames:
        options = ["-c", arguments.config, "--size", *map(str, arguments.size), "--frames", str(frames), "--child"]
        finished = subprocess.run([sys.executable, __file__, *options], check=True, capture_output=True, text=True)
        result = json.loads(finished.stdout.splitlines()[-1])
        peaks.append(result["peak"])
        print(
            f"{frames} frames: {result['first'] * 1e3:.1f} ms a frame in the first hundred, "
            f"{result['last'] * 1e3:.1f} in the last ({result['last'] / result['first'] - 1:+.1%}); "
            f"peak {result['peak']:.0f} MB ({result['peak'] / peaks[0] - 1:+.1%} of the shortest)"
        )


if __name__ == "__main__":
    main()
