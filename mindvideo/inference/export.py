"""A trained network as MindIR or ONNX: written, loaded again, and compared with the network it came from."""

from __future__ import annotations

import dataclasses
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn

from mindvideo.errors import UserError
from mindvideo.files import sync_file

SUFFIX, ONNX_SUFFIX = ".mindir", ".onnx"
_NATIVE_OPERATOR = re.compile(rb"(/[\w./+-]+\.so):(\w+)")
# MindSpore splits graph and weights into files of these names when a model passes 1 GB.
_SPLIT_GRAPH = "_graph"


@dataclasses.dataclass(frozen=True)
class ExportPlan:
    """A graph with what it takes and gives.

    ``inputs``: name -> example, in the graph's order. ``state``: those of them that carry what is known of earlier
    frames, the last inputs; the graph's last outputs are their next values. ``outputs``: names of the other outputs.
    """

    graph: nn.Cell
    inputs: Mapping[str, ms.Tensor]
    outputs: tuple[str, ...]
    state: tuple[str, ...] = ()

    @property
    def all_outputs(self) -> tuple[str, ...]:
        return (*self.outputs, *(f"next_{name}" for name in self.state))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Of one output over the compared calls: the largest difference, and the largest value for scale."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    difference: float
    largest: float


def export_graph(plan: ExportPlan, path: Path, *, calls: int = 3, seed: int = 0) -> list[Comparison]:
    """Write ``path``; the comparison of the loaded graph with the Cell over ``calls`` calls with random frames.

    With a state, each call takes the state that the call before gave, in the Cell and in the graph each its own.
    Raises UserError, and leaves no file, when the two differ by more than rounding.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    plan.graph.set_train(False)
    workshop = Path(tempfile.mkdtemp(prefix=f".{path.stem}-", dir=path.parent))
    try:
        _write(plan, workshop / path.name)
        comparisons = compare(plan, load_graph(workshop / path.name), calls=calls, seed=seed)
        worst = max(comparisons, key=lambda each: each.difference / max(each.largest, 1.0))
        if not worst.difference <= 1e-4 * max(worst.largest, 1.0):
            raise UserError(
                f"{path}: the loaded graph differs from the network, in {worst.name} by {worst.difference:.3g}; "
                "the file is not kept"
            )
        for written in workshop.iterdir():
            if written.is_file():
                written.chmod(0o644)  # MindSpore writes for the owner only
                sync_file(written)
            shutil.rmtree(path.parent / written.name, ignore_errors=True)
            written.replace(path.parent / written.name)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return comparisons


def _write(plan: ExportPlan, path: Path) -> None:
    """ONNX is made from MindIR, since MindSpore's own exporter lacks operators of every family."""
    ms.export(plan.graph, *plan.inputs.values(), file_name=str(path.with_suffix("")), file_format="MINDIR")
    if path.suffix == ONNX_SUFFIX:
        from mindvideo.inference.onnx_export.model import write_onnx  # the packages of the extra "onnx"

        mindir = path.with_suffix(SUFFIX)
        write_onnx(mindir, path, inputs=list(plan.inputs), outputs=plan.all_outputs)
        mindir.unlink()


class _OnnxCall:
    """An ONNX file in onnxruntime, called as the network is."""

    def __init__(self, path: Path) -> None:
        from mindvideo.inference.onnx_export.model import OnnxGraph

        self._graph = OnnxGraph(path)

    def __call__(self, *inputs: ms.Tensor) -> tuple[ms.Tensor, ...]:
        return tuple(ms.Tensor(array) for array in self._graph(*(tensor.asnumpy() for tensor in inputs)))


def load_graph(path: Path) -> Callable[..., Sequence[ms.Tensor]]:
    """The graph of a file that :func:`export_graph` wrote (or is writing)."""
    if path.suffix == ONNX_SUFFIX:
        return _OnnxCall(path)
    return nn.GraphCell(ms.load(str(_graph_file(path))))


def seconds_of_call(graph: Callable[..., Sequence[ms.Tensor]], plan: ExportPlan, *, calls: int = 5) -> float:
    """The shortest of some calls with the plan's examples, to the last number on the host."""
    taken = []
    for _ in range(calls):
        began = time.perf_counter()
        for output in graph(*plan.inputs.values()):
            output.asnumpy()
        taken.append(time.perf_counter() - began)
    return min(taken)


def compare(plan: ExportPlan, graph: Callable[..., Sequence[ms.Tensor]], *, calls: int, seed: int) -> list[Comparison]:
    rng = np.random.default_rng(seed)
    names = list(plan.inputs)
    state_of_cell: Sequence[ms.Tensor] = [plan.inputs[name] for name in plan.state]
    state_of_graph = state_of_cell
    difference = dict.fromkeys(plan.all_outputs, 0.0)
    largest = dict.fromkeys(plan.all_outputs, 0.0)
    for _ in range(calls):
        fresh = [_random_like(plan.inputs[name], rng) for name in names[: len(names) - len(plan.state)]]
        from_cell, from_graph = plan.graph(*fresh, *state_of_cell), graph(*fresh, *state_of_graph)
        for name, ours, theirs in zip(plan.all_outputs, from_cell, from_graph):
            ours, theirs = (np.asarray(each.asnumpy(), np.float64) for each in (ours, theirs))
            if ours.size:
                # A NaN in one of them must not pass for equality.
                gap = np.where(np.isfinite(ours) & np.isfinite(theirs), np.abs(ours - theirs), np.inf)
                difference[name] = max(difference[name], float(np.where(ours == theirs, 0.0, gap).max()))
                largest[name] = max(largest[name], float(np.abs(ours[np.isfinite(ours)]).max(initial=0.0)))
        state_of_cell, state_of_graph = from_cell[len(plan.outputs) :], from_graph[len(plan.outputs) :]
    return [
        Comparison(name, tuple(output.shape), str(output.dtype), difference[name], largest[name])
        for name, output in zip(plan.all_outputs, from_cell)
    ]


def native_operators(path: Path) -> dict[str, set[str]]:
    """Library -> functions of it that the graph in the file calls; empty for a graph of MindSpore's own operators."""
    found: dict[str, set[str]] = {}
    for library, function in _NATIVE_OPERATOR.findall(_graph_file(path).read_bytes()):
        found.setdefault(library.decode(), set()).add(function.decode())
    return found


def _graph_file(path: Path) -> Path:
    split = path.with_name(path.stem + _SPLIT_GRAPH + path.suffix)
    return split if split.is_file() else path


def _random_like(example: ms.Tensor, rng: np.random.Generator) -> ms.Tensor:
    """New pixels for frames; sizes and other numbers stay as they are."""
    if example.dtype != ms.uint8:
        return example
    return ms.Tensor(rng.integers(0, 256, example.shape, dtype=np.uint8))
