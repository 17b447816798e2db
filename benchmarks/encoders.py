"""VisTR's encoder beside Deformable VisTR's: time and peak memory as clips grow longer and grids finer.

    python -m benchmarks.encoders                       both grids of a 300 x 540 frame; 12, 36 and 72 frames
    python -m benchmarks.encoders --frames 12 36 --grids 10x17 --csv benchmarks/encoders.csv --plot docs/encoders.png

Both have the published widths (384 channels, 8 heads, feed-forward 2048; 6 points a frame). One layer is timed, since
an encoder is a row of equal ones; ``python -m benchmarks.model`` times whole networks. Every case runs in a process of
its own, so that its peak memory is its own; the two encoders of a case run one after the other, and the ratio of their
medians is what to compare between machines.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import mindvideo  # noqa: F401, I001  prepares the environment before MindSpore is imported
from benchmarks.rows import append_rows

WIDTH, HEADS, FFN, POINTS = 384, 8, 2048, 6
FAMILIES = ("vistr", "defvistr")
GRIDS = ("10x17", "19x34")  # of a frame of 300 x 540 at stride 32 and 16


def build(family: str, frames: int, height: int, width: int):
    """A function without arguments that runs one encoder layer over random tokens."""
    import mindspore as ms

    from mindvideo.modules.transformers.deformable_encoder import build_deformable_encoder
    from mindvideo.modules.transformers.detr import build_encoder

    ms.set_context(mode=ms.GRAPH_MODE)
    shape = (1, frames * height * width, WIDTH)
    random = np.random.default_rng(0)
    tokens = ms.Tensor(random.standard_normal(shape, np.float32))
    position = ms.Tensor(random.standard_normal(shape, np.float32))
    if family == "vistr":
        encoder = build_encoder(num_layers=1, width=WIDTH, heads=HEADS, hidden=FFN, dropout=0.1, pre_norm=False)
        arguments = (tokens, position)
    else:
        encoder = build_deformable_encoder(
            num_layers=1, width=WIDTH, heads=HEADS, num_levels=frames, points=POINTS, hidden=FFN, dropout=0.1
        )
        ratios = ms.Tensor(np.ones((1, frames, 2), np.float32))
        padding = ms.Tensor(np.zeros(shape[:2], bool))
        arguments = (tokens, position, ((height, width),) * frames, ratios, padding)
    encoder.set_train(False)
    return lambda: encoder(*arguments).asnumpy()


def measure(family: str, frames: int, grid: str, runs: int) -> dict[str, float]:
    height, width = (int(number) for number in grid.split("x"))
    run = build(family, frames, height, width)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": float(np.median(times)), "megabytes": (peak - before) / 1e3}


def in_own_process(family: str, frames: int, grid: str, runs: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.encoders", "--case", family, "--frames", str(frames), "--grids", grid]
    answer = subprocess.run([*command, "--runs", str(runs)], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SystemExit(f"{family}, {frames} frames on {grid}: {answer.stderr.strip().splitlines()[-1]}")
    return json.loads(answer.stdout.strip().splitlines()[-1])


def rows_of(frames: list[int], grids: list[str], runs: int):
    for grid in grids:
        for count in frames:
            tokens = count * int(grid.split("x")[0]) * int(grid.split("x")[1])
            dense, sampled = (in_own_process(family, count, grid, runs) for family in FAMILIES)
            yield {
                "grid": grid,
                "frames": count,
                "tokens": tokens,
                "vistr_seconds": round(dense["seconds"], 3),
                "defvistr_seconds": round(sampled["seconds"], 3),
                "times_faster": round(dense["seconds"] / sampled["seconds"], 2),
                "vistr_megabytes": round(dense["megabytes"]),
                "defvistr_megabytes": round(sampled["megabytes"]),
                "dense_map_megabytes": round(tokens**2 * HEADS * 4 / 1e6),
            }


def plot(rows: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (of_time, of_memory) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for grid, style in zip(dict.fromkeys(row["grid"] for row in rows), ("-", "--", ":")):
        here = [row for row in rows if row["grid"] == grid]
        frames = [row["frames"] for row in here]
        for family, name, color in (("vistr", "VisTR", "tab:orange"), ("defvistr", "Deformable VisTR", "tab:blue")):
            label = f"{name}, {grid} tokens a frame"
            seconds = [row[f"{family}_seconds"] for row in here]
            of_time.plot(frames, seconds, style, color=color, marker="o", label=label)
            of_memory.plot(frames, [row[f"{family}_megabytes"] for row in here], style, color=color, marker="o")
        dense = [row["dense_map_megabytes"] for row in here]
        of_memory.plot(frames, dense, style, color="0.6", label=f"a dense attention map, {grid}")
    of_time.set(yscale="log", xlabel="frames", ylabel="seconds a layer")
    of_memory.set(yscale="log", xlabel="frames", ylabel="MB beyond weights and tokens")
    for axes in (of_time, of_memory):
        axes.grid(alpha=0.3)
        axes.set_xticks(sorted({row["frames"] for row in rows}))
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[12, 36, 72])
    parser.add_argument("--grids", nargs="+", default=list(GRIDS), metavar="HxW", help="tokens of a frame")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="append the table to this file")
    parser.add_argument("--plot", type=Path, help="draw it into this picture")
    parser.add_argument("--case", choices=FAMILIES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(arguments.case, arguments.frames[0], arguments.grids[0], arguments.runs)))
        return
    rows = []
    for row in rows_of(arguments.frames, arguments.grids, arguments.runs):
        if not rows:
            print("  ".join(row))
        rows.append(row)
        print("  ".join(str(value).rjust(len(name)) for name, value in row.items()), flush=True)
    if arguments.csv:
        append_rows(arguments.csv, rows)
    if arguments.plot:
        plot(rows, arguments.plot)


if __name__ == "__main__":
    main()
