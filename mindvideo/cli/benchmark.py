"""How large and how fast a model is on this machine: parameters, FLOPs, frames a second, memory, share of matrix rate.

  mindvideo benchmark -c vistr --size 640x360               random weights, which are as fast as trained ones
  mindvideo benchmark -c vistr_toy --json                   JSON instead of the table

A made-up video is tracked, as mindvideo infer does it but without files: to the first result, then to the end, which
compiles all that is used, and once more, which gives the frames a second. FLOPs are two for a multiply-add, of
convolutions and matrix products only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mindvideo.assembly.configuration import load_config
from mindvideo.cli.arguments import EXIT_OK, config_parser, whole_number
from mindvideo.compile_times import kept_graphs
from mindvideo.data.media.frame_size import parse_size, short_side_size
from mindvideo.errors import UserError
from mindvideo.files import write_json
from mindvideo.logs import set_up_logging
from mindvideo.weights.find import find_weights

MATRIX_SIZE = 2048
BYTES_OF_MAXRSS = 1 if sys.platform == "darwin" else 1024


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = config_parser(__doc__ or "")
    parser.add_argument("--size", default="640x360", metavar="WxH", help="size of the video (default: 640x360)")
    parser.add_argument("--frames", type=whole_number(2, 100_000), default=24, help="of the video (default: 24)")
    parser.add_argument("--no-flops", action="store_true", help="do not compile the graph again to count its FLOPs")
    parser.add_argument("--json", action="store_true", help="print JSON; --output DIR writes benchmark.json")
    return parser.parse_intermixed_args(arguments)


def main() -> int:
    started = time.perf_counter()
    arguments = parse_arguments()
    cfg = load_config(arguments.config, arguments.overrides)
    size = parse_size(arguments.size)
    weights = find_weights(arguments.weights) if arguments.weights or cfg.weights else None
    set_up_logging("warning")
    from mindvideo.assembly import VideoPredictor  # MindSpore loads only when there is something to do
    from mindvideo.ops.backend import backend

    predictor = VideoPredictor.from_config(cfg, weights=weights)
    video = moving_noise(size, arguments.frames)
    figures: dict[str, Any] = {
        "configuration": cfg.name,
        "device": f"{cfg.runtime.device}, {os.cpu_count()} processors, operators: {backend()}",
        "video": f"{arguments.frames} frames of {size[1]}x{size[0]}",
        "parameters": num_parameters(cfg),
        "seconds_to_load": time.perf_counter() - started,
    }
    begun = time.perf_counter()
    tracking = predictor.track(video)
    next(tracking)
    figures["seconds_to_first_result"] = time.perf_counter() - begun
    tracking.close()
    kept_graphs.compile_after = 0.0
    for _ in predictor.track(video):
        pass
    begun = time.perf_counter()
    for _ in predictor.track(video):
        pass
    figures["frames_per_second"] = arguments.frames / (time.perf_counter() - begun)
    figures["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_OF_MAXRSS
    figures["matrix_flops_per_second"] = matrix_rate()
    figures |= flops_of(cfg, size) if not arguments.no_flops else {"flops_per_frame": None}
    figures["share_of_matrix_rate"] = share(figures)
    if arguments.output:
        write_json(Path(arguments.output) / "benchmark.json", figures)
    print(json.dumps(figures, indent=2) if arguments.json else table(figures))
    return EXIT_OK


def moving_noise(size: tuple[int, int], length: int) -> list[np.ndarray]:
    """Frames that differ: a noise picture that wanders, uint8 [H, W, 3]."""
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    return [np.roll(picture, 3 * index, axis=1) for index in range(length)]


def num_parameters(cfg: Any) -> int:
    from mindvideo.assembly.checkpoints import shapes_of

    return sum(int(np.prod(shape)) for shape in shapes_of(cfg).values())


def matrix_rate(seconds: float = 2.0) -> float:
    """FLOPs a second of a large float32 matrix product, the median of repeated runs."""
    import mindspore as ms

    a = ms.Tensor(np.random.default_rng(0).standard_normal((MATRIX_SIZE, MATRIX_SIZE), np.float32))
    ms.ops.matmul(a, a).asnumpy()
    times: list[float] = []
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds or len(times) < 3:
        start = time.perf_counter()
        ms.ops.matmul(a, a).asnumpy()
        times.append(time.perf_counter() - start)
    return float(2 * MATRIX_SIZE**3 / np.median(times))


def flops_of(cfg: Any, size: tuple[int, int]) -> dict[str, Any]:
    """FLOPs of a frame, from the graph that export writes; None where a family's graph cannot be counted."""
    import mindspore as ms

    from mindvideo.assembly import build_tracker
    from mindvideo.inference.graph_flops import graph_flops

    short = cfg.inference.short_side
    scaled = short_side_size(size, short_side=short) if short else size
    tracker = build_tracker(cfg, weights=None)
    try:
        plan = tracker.export_plan(size=scaled)
    except (UserError, AttributeError) as error:
        print(f"FLOPs are not counted: {error}", file=sys.stderr)
        return {"flops_per_frame": None}
    plan.graph.set_train(False)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.mindir"
        ms.export(plan.graph, *plan.inputs.values(), file_name=str(file.with_suffix("")), file_format="MINDIR")
        flops = graph_flops(file)
    frames = next(each.shape for each in plan.inputs.values() if each.dtype == ms.uint8)
    T = int(np.prod(frames)) // (3 * scaled[0] * scaled[1])
    return {"flops_per_frame": None if flops is None else flops / T, "frame_size_in_graph": f"{scaled[1]}x{scaled[0]}"}


def share(figures: dict[str, Any]) -> float | None:
    flops = figures["flops_per_frame"]
    return None if flops is None else flops * figures["frames_per_second"] / figures["matrix_flops_per_second"]


def table(figures: dict[str, Any]) -> str:
    scales = {"bytes": (1e6, "MB"), "flops": (1e9, "GFLOP"), "parameters": (1e6, "million"), "share": (0.01, "%")}
    lines = []
    for name, value in figures.items():
        shown = "not counted" if value is None else str(value)
        if isinstance(value, (int, float)):
            scale, unit = next((each for word, each in scales.items() if word in name), (1.0, ""))
            unit = unit + " a second" if name == "matrix_flops_per_second" else unit
            shown = f"{value / scale:.2f} {unit}".rstrip()
        lines.append(f"{name.replace('_', ' '):<26} {shown}")
    return "\n".join(lines)
