"""How long a user waits for the first frame's instances, from the start of the process, stage by stage.

    python -m benchmarks.first_result                                           a toy, with random weights
    python -m benchmarks.first_result -c instanceformer_ytvis2019_r50 --size 360 640
    python -m benchmarks.first_result --before DIR --runs 3                     in turn with another checkout
    python -m benchmarks.first_result -c vistr_toy --frames 12 runtime.compile_after=0

Every run is a process of its own over a video of noise, a first start with an empty cache folder, then a second one
that finds the compiled graphs of the first. What the operating system keeps in memory stays from run to run, nothing
else does. "answering": until the first instances come, operator by operator where no graph is kept. "whole video": from
the process's start, too. "compiling": the part of it that went into graphs; "a frame": of the video's second half.
"processor": its seconds up to the first result, which move less with a machine's load.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
STARTS = ("first", "second")
STAGES = ("imports", "configuration", "network", "weights", "opening", "answering")
AFTERWARDS = ("compiling", "a frame", "whole video")


def measure(began: float, config: str, overrides: list[str], weights: str | None, video: str) -> dict[str, float]:
    """Seconds of each stage in this process, which began at ``began``; runs with the package of PYTHONPATH."""
    marks = [("start", began)]

    def mark(stage: str) -> None:
        marks.append((stage, time.time()))

    import mindvideo.cli.infer  # noqa: F401  as the command does
    from mindvideo import VideoPredictor, load_config
    from mindvideo.compile_times import kept_graphs
    from mindvideo.data.media.sources import find_videos

    mark("imports")
    cfg = load_config(config, overrides)
    mark("configuration")
    reading = _timed_weights()
    predictor = VideoPredictor.from_config(cfg, weights=weights)
    mark("network")
    reader = find_videos(video)[0].open()
    mark("opening")
    answers = predictor.track(reader)
    next(answers)
    mark("answering")
    processor = time.process_time()
    times = [time.time(), *(time.time() for _ in answers)]
    middle = len(times) // 2
    a_frame = (times[-1] - times[middle]) / (len(times) - 1 - middle)
    seconds = {stage: at - before for (_, before), (stage, at) in zip(marks, marks[1:])}
    seconds["weights"] = sum(reading)
    seconds["network"] -= seconds["weights"]
    kept = {stage: seconds[stage] for stage in STAGES}
    # A checkout from before they were counted has no seconds of compiling.
    afterwards = dict(zip(AFTERWARDS, (getattr(kept_graphs, "seconds", math.nan), a_frame, times[-1] - began)))
    return {**kept, "first result": marks[-1][1] - began, "processor": processor, **afterwards}


def _timed_weights() -> list[float]:
    """Seconds of each call that fills a network from a file, as they come."""
    from mindvideo.assembly import network

    spent: list[float] = []
    load = network.load_weights  # type: ignore[attr-defined]  # what that module calls is replaced

    def timed(*arguments, **options):
        began = time.time()
        try:
            return load(*arguments, **options)
        finally:
            spent.append(time.time() - began)

    network.load_weights = timed  # type: ignore[attr-defined]
    return spent


def run(tree: Path, arguments: argparse.Namespace, video: Path, cache: Path) -> dict[str, float]:
    """One process with the package in ``tree`` and that cache folder."""
    command = [sys.executable, str(Path(__file__).resolve()), "--child", str(time.time())]
    command += ["-c", arguments.config, "--video", str(video), *arguments.overrides]
    command += ["--weights", str(Path(arguments.weights).resolve())] if arguments.weights else []
    environment = {**os.environ, "PYTHONPATH": str(tree), "MINDVIDEO_CACHE": str(cache)}
    done = subprocess.run(command, env=environment, cwd=tree, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def write_video(folder: Path, num_frames: int, height: int, width: int) -> Path:
    """Frames of noise as pictures; an online model answers after each."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(num_frames):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(folder / f"{number:03d}.png")
    return folder


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {stage: round(statistics.median(each[stage] for each in runs), 2) for stage in runs[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", default="instanceformer_toy")
    parser.add_argument("--weights", help="a file; without it the weights are random")
    parser.add_argument("--size", type=int, nargs=2, default=(96, 160), metavar=("H", "W"))
    parser.add_argument("--frames", type=int, default=60, help="of the video (default: 60)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--before", type=Path, help="another checkout, measured in turn with this one")
    parser.add_argument("--csv", type=Path, help="add the figures to this file")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings other than the configuration's")
    parser.add_argument("--child", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--video", help=argparse.SUPPRESS)
    arguments = parser.parse_intermixed_args()
    if arguments.child is not None:
        print(
            json.dumps(
                measure(arguments.child, arguments.config, arguments.overrides, arguments.weights, arguments.video)
            )
        )
        return
    trees = {"this": ROOT, **({"before": arguments.before.resolve()} if arguments.before else {})}
    found: dict[tuple[str, str], list[dict[str, float]]] = {(name, start): [] for name in trees for start in STARTS}
    with tempfile.TemporaryDirectory() as folder:
        video = write_video(Path(folder), arguments.frames, *arguments.size)
        for number in range(arguments.runs):
            for name, start in found:
                cache = Path(folder) / f"cache-{name}-{number}"
                found[name, start].append(run(trees[name], arguments, video, cache))
    title = " ".join([arguments.config, *arguments.overrides])
    size = "{} x {}".format(*arguments.size)
    print(f"{title}, {arguments.frames} frames of {size}, medians of {arguments.runs} runs, seconds")
    print(f"{'':15s}" + "".join(f"{f'{name}, {start}':>16s}" for name, start in found))
    figures = {way: medians(runs) for way, runs in found.items()}
    for stage in (*STAGES, "first result", "processor", *AFTERWARDS):
        print(f"{stage:15s}" + "".join(f"{each[stage]:16.2f}" for each in figures.values()))
    if arguments.csv is not None:
        from benchmarks.rows import append_rows  # here, because another checkout may not have it

        rows = [
            {"config": title, "frames": arguments.frames, "size": size, "tree": name, "start": start, **each}
            for (name, start), each in figures.items()
        ]
        append_rows(arguments.csv, rows)


if __name__ == "__main__":
    main()
