"""Write a model as MindIR or ONNX, load it again and compare it with the network it came from.

A model of whole clips becomes one graph; an online model the step of one frame with its state as inputs and outputs.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mindvideo.assembly.configuration import load_config
from mindvideo.cli.arguments import EXIT_OK, config_parser
from mindvideo.cli.result_settings import check_weights_file
from mindvideo.data.media.frame_size import parse_size
from mindvideo.errors import UserError
from mindvideo.files import atomic_path, write_json
from mindvideo.inference.export import ExportPlan
from mindvideo.logs import set_up_logging
from mindvideo.native_library import CHOICE_VARIABLE

FORMATS = ("mindir", "onnx")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = config_parser(__doc__)
    parser.add_argument(
        "--size", required=True, metavar="WxH", help="size of the frames the graph takes, after scaling"
    )
    parser.add_argument(
        "--format", choices=FORMATS, help="default: as --output ends, else mindir; onnx needs the extra mindvideo[onnx]"
    )
    return parser.parse_args(arguments)


def output_file(given: argparse.Namespace, name: str) -> Path:
    """The file to write, in the format that is asked for or that its name says."""
    path = Path(given.output or f"{name}.{given.format or 'mindir'}")
    kind = given.format or path.suffix.lstrip(".")
    if kind not in FORMATS or path.suffix != f".{kind}":
        allowed = f".{given.format}" if given.format else " or ".join(f".{each}" for each in FORMATS)
        raise UserError(f"--output {path}: give a file name that ends in {allowed}")
    if kind == "onnx":
        missing = [package for package in ("onnx", "onnxruntime") if importlib.util.find_spec(package) is None]
        if missing:
            raise UserError(f"ONNX needs {' and '.join(missing)}, not installed here: pip install 'mindvideo[onnx]'")
        os.environ[CHOICE_VARIABLE] = "reference"  # a file for other programs holds no native operator of ours
    return path


def main() -> int:
    arguments = parse_arguments()
    cfg = load_config(arguments.config, arguments.overrides)
    size = parse_size(arguments.size)
    path = output_file(arguments, cfg.name)
    weights = check_weights_file(arguments.weights or cfg.weights)
    set_up_logging(cfg.runtime.log_level)

    from mindvideo.assembly import build_tracker, prepare_device  # MindSpore loads only when there is something to do
    from mindvideo.inference.export import export_graph, load_graph, native_operators, seconds_of_call

    prepare_device(cfg)
    plan = build_tracker(cfg, weights=weights).export_plan(size=size)
    comparisons = export_graph(plan, path)
    write_json(path.with_suffix(".json"), description(cfg, plan, comparisons, size))
    print(f"wrote {path}: {cfg.family}, frames of {size[1]}x{size[0]}; loaded again and compared with the network")
    for each in comparisons:
        print(f"  {each.name:<16} {str(list(each.shape)):<22} {each.dtype:<9} largest difference {each.difference:.3g}")
    if plan.state:
        write_state(path.with_suffix(".npz"), {name: plan.inputs[name].asnumpy() for name in plan.state})
        print(f"state that begins a video: {path.with_suffix('.npz')}; feed each next_* output back as the input")
    if path.suffix == ".onnx":
        ours, theirs = (1000 * seconds_of_call(graph, plan) for graph in (plan.graph, load_graph(path)))
        print(f"one call here: {ours:.1f} ms in MindSpore, {theirs:.1f} ms in onnxruntime; ONNX opset 17, fixed sizes")
        return EXIT_OK
    print(needs(native_operators(path)))
    return EXIT_OK


def description(cfg: ConfigDict, plan: ExportPlan, comparisons: Any, size: tuple[int, int]) -> dict:
    """The facts that someone at the other end has to know."""
    return {
        "family": cfg.family,
        "configuration": cfg.name,
        "frame_size": {"height": size[0], "width": size[1]},
        "pixels": "RGB uint8; scaling to this size is up to the caller, normalisation is in the graph",
        "inputs": [
            {"name": name, "shape": list(example.shape), "dtype": str(example.dtype)}
            for name, example in plan.inputs.items()
        ],
        "outputs": [{"name": each.name, "shape": list(each.shape), "dtype": each.dtype} for each in comparisons],
        "state": list(plan.state),
    }


def write_state(path: Path, state: dict) -> None:
    import numpy as np

    with atomic_path(path) as temporary:
        np.savez(temporary, **state)


def needs(operators: dict[str, set[str]]) -> str:
    if not operators:
        return "the graph holds MindSpore's own operators only: nothing else is needed to run it"
    listed = "; ".join(f"{library} ({', '.join(sorted(names))})" for library, names in operators.items())
    return (
        f"the graph calls native operators, which must lie at the same path where it is to run: {listed}. "
        "Export with MINDVIDEO_OPS=reference for a graph without them"
    )
