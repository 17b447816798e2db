"""How long a user waits for the first frame's instances, from the start of the process, stage by stage.

    python -m benchmarks.first_result                                           a toy, with random weights
    python -m benchmarks.first_result -c instanceformer_ytvis2019_r50 --size 360 640
    python -m benchmarks.first_result --before DIR --runs 3                     in turn with another checkout

Every run is a process of its own over a video of noise, a first start with an empty cache folder, then a second one
that finds the compiled graphs of the first. What the operating system keeps in memory stays from run to run, nothing
else does. Two frames are tracked; what the first takes longer than the second is compiling.
"processor": its seconds up to the first result, which move less with a machine's load.
"""

from __future__ import annotations

import argparse
import json
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
STAGES = ("imports", "configuration", "network", "weights", "opening", "compiling", "running")


def measure(began: float, config: str, weights: str | None, video: str) -> dict[str, float]:
    """Seconds of each stage in this process, which began at ``began``; runs with the package of PYTHONPATH."""
    marks = [("start", began)]

    def mark(stage: str) -> None:
        marks.append((stage, time.time()))

    import mindvideo.cli.infer  # noqa: F401  as the command does
    from mindvideo import VideoPredictor, load_config
    from mindvideo.data.media.sources import find_videos

    mark("imports")
    cfg = load_config(config)
    mark("configuration")
    reading = _timed_weights()
    predictor = VideoPredictor.from_config(cfg, weights=weights)
    mark("network")
    reader = find_videos(video)[0].open()
    mark("opening")
    answers = predictor.track(reader)
    next(answers)
    mark("compiling")
    processor = time.process_time()
    next(answers)
    mark("running")
    seconds = {stage: at - before for (_, before), (stage, at) in zip(marks, marks[1:])}
    seconds["weights"] = sum(reading)
    seconds["network"] -= seconds["weights"]
    seconds["compiling"] -= seconds["running"]  # the first answer is that of one frame, too
    kept = {stage: seconds[stage] for stage in STAGES}
    return {**kept, "first result": marks[-2][1] - began, "processor": processor}


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
    command += ["-c", arguments.config, "--video", str(video)]
    command += ["--weights", str(Path(arguments.weights).resolve())] if arguments.weights else []
    environment = {**os.environ, "PYTHONPATH": str(tree), "MINDVIDEO_CACHE": str(cache)}
    done = subprocess.run(command, env=environment, cwd=tree, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def write_video(folder: Path, height: int, width: int) -> Path:
    """Two frames of noise as pictures; an online model answers after each."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(2):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(folder / f"{number:03d}.png")
    return folder


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {stage: round(statistics.median(each[stage] for each in runs), 2) for stage in runs[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", default="instanceformer_toy")
    parser.add_argument("--weights", help="a file; without it the weights are random")
    parser.add_argument("--size", type=int, nargs=2, default=(96, 160), metavar=("H", "W"))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--before", type=Path, help="another checkout, measured in turn with this one")
    parser.add_argument("--csv", type=Path, help="add the figures to this file")
    parser.add_argument("--child", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--video", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        print(json.dumps(measure(arguments.child, arguments.config, arguments.weights, arguments.video)))
        return
    trees = {"this": ROOT, **({"before": arguments.before.resolve()} if arguments.before else {})}
    found: dict[tuple[str, str], list[dict[str, float]]] = {(name, start): [] for name in trees for start in STARTS}
    with tempfile.TemporaryDirectory() as folder:
        video = write_video(Path(folder), *arguments.size)
        for number in range(arguments.runs):
            for name, start in found:
                cache = Path(folder) / f"cache-{name}-{number}"
                found[name, start].append(run(trees[name], arguments, video, cache))
    print(f"{arguments.config}, {arguments.size[0]} x {arguments.size[1]}, medians of {arguments.runs} runs, seconds")
    print(f"{'':15s}" + "".join(f"{f'{name}, {start}':>16s}" for name, start in found))
    figures = {way: medians(runs) for way, runs in found.items()}
    for stage in (*STAGES, "first result", "processor"):
        print(f"{stage:15s}" + "".join(f"{each[stage]:16.2f}" for each in figures.values()))
    if arguments.csv is not None:
        from benchmarks.rows import append_rows  # here, because another checkout may not have it

        size = "{} x {}".format(*arguments.size)
        rows = [
            {"config": arguments.config, "size": size, "tree": name, "start": start, **each}
            for (name, start), each in figures.items()
        ]
        append_rows(arguments.csv, rows)


if __name__ == "__main__":
    main()
