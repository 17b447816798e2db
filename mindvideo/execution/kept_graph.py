"""Compiled graphs that outlive the process: the next start loads what the first one traced.

A graph that no earlier start has left is not compiled at once. Its first calls run operator by operator, so that the
first result comes in seconds and a short video is done before compiling would be; once they have taken as long as
``runtime.compile_after`` says, the graph is compiled.

Most of the time of compiling goes into tracing Python. What it arrives at is written as MindIR into the cache folder,
without weights (InstanceFormer R50: 1.4 MB), under the fingerprint of the cell and its inputs; a later process loads it
and gives it the weights of its own cell. MindSpore's own cache would find a graph by its place in the order of
compiling (docs/performance.md); here nothing is found that differs in anything that decides the graph.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mindspore as ms
from mindspore import nn

from mindvideo.compile_times import kept_graphs
from mindvideo.errors import UserError
from mindvideo.execution.fingerprint import fingerprint
from mindvideo.files import atomic_path
from mindvideo.resources import cache_folder

FOLDER, SUFFIX = "graphs", ".mindir"
MAX_FILES = 64  # of a few MB each; those not used for longest go

_log = logging.getLogger("mindvideo.execution")


def keep_graphs(on: bool, *, compile_after: float = 0.0) -> None:
    """Whether the graphs of this process are kept and found again; on a CPU only, where it was tried.

    ``compile_after``: seconds of calls operator by operator before a graph is compiled.
    """
    kept_graphs.on = on and ms.get_context("device_target") == "CPU"
    kept_graphs.compile_after = compile_after


@dataclasses.dataclass
class _Wanted:
    """A graph that is not there yet."""

    cell: nn.Cell
    name: str | None  # of its file; None where it is not to be kept
    spent: float = 0.0  # seconds of its calls so far


class KeptGraph:
    """Calls like the cell, for passes without gradients.

    Its outputs are a tensor or a tuple of them. An input that is no tensor is a constant of the graph.
    """

    def __init__(self, cell: nn.Cell) -> None:
        cell.set_train(False)
        self.cell = cell
        self._graphs: dict[tuple, Callable[..., Any]] = {}
        self._wanted: dict[tuple, _Wanted] = {}

    def __call__(self, *inputs: Any) -> Any:
        if not kept_graphs.on or ms.get_context("mode") != ms.GRAPH_MODE:
            return self.cell(*inputs)
        tensors = tuple(each for each in inputs if isinstance(each, ms.Tensor))
        kinds = tuple((each.shape, str(each.dtype)) if isinstance(each, ms.Tensor) else each for each in inputs)
        if kinds in self._graphs:
            return self._graphs[kinds](*tensors)
        began = time.monotonic()
        graph = self._graph_for(kinds, inputs, tensors)
        if graph is None:
            return self._step_by_step(self._wanted[kinds], tensors)
        outputs = graph(*tensors)
        kept_graphs.seconds += time.monotonic() - began
        return outputs

    def _graph_for(self, kinds: tuple, inputs: tuple, tensors: tuple[ms.Tensor, ...]) -> Callable[..., Any] | None:
        """The kept graph; or a new one, kept from now on where a file can be written, if it is time for that."""
        content = None
        if kinds not in self._wanted:
            cell = self.cell if len(tensors) == len(inputs) else _Bound(self.cell, inputs)
            self._wanted[kinds] = _Wanted(cell, _name_of(cell, tensors))
            content = _read(self._wanted[kinds].name)
            kept_graphs.found += content is not None
        wanted = self._wanted[kinds]
        if content is None and wanted.spent < kept_graphs.compile_after:
            return None
        del self._wanted[kinds]
        self._graphs[kinds] = _compiled(wanted, tensors) if content is None else _LoadedGraph(content, wanted.cell)
        return self._graphs[kinds]

    @staticmethod
    def _step_by_step(wanted: _Wanted, tensors: tuple[ms.Tensor, ...]) -> Any:
        began = time.monotonic()
        ms.set_context(mode=ms.PYNATIVE_MODE)
        try:
            outputs = wanted.cell(*tensors)
            # Waited for, because the cell may be given other weights next.
            for each in outputs if isinstance(outputs, tuple) else (outputs,):
                each.asnumpy()
        finally:
            ms.set_context(mode=ms.GRAPH_MODE)
        wanted.spent += time.monotonic() - began
        kept_graphs.stepped += 1
        return outputs


def _name_of(cell: nn.Cell, tensors: tuple[ms.Tensor, ...]) -> str | None:
    """The beginning of the name of its graph's file; None where the sources were edited since they were read."""
    known = fingerprint(cell)
    shapes = [(each.shape, str(each.dtype)) for each in tensors]
    return None if known is None else hashlib.sha256(f"{known} {shapes}".encode()).hexdigest()[:32]


def _compiled(wanted: _Wanted, tensors: tuple[ms.Tensor, ...]) -> Callable[..., Any]:
    if wanted.name is None:
        return wanted.cell
    kept_graphs.traced += 1
    content = traced(wanted.cell, tensors)
    try:
        _write(wanted.name, content)
    except (OSError, UserError) as error:
        _log.warning("the compiled graph is not kept for the next start: %s", error)
    return _LoadedGraph(content, wanted.cell)


class _Bound(nn.Cell):
    """The cell with those inputs fixed that are no tensors."""

    def __init__(self, cell: nn.Cell, inputs: tuple) -> None:
        super().__init__(auto_prefix=False)
        self.cell = cell
        self.is_fixed = tuple(not isinstance(each, ms.Tensor) for each in inputs)
        self.fixed = tuple(None if isinstance(each, ms.Tensor) else each for each in inputs)
        self.set_train(False)

    def construct(self, *tensors: ms.Tensor) -> Any:
        inputs: tuple[Any, ...] = ()
        number = 0
        for place, is_fixed in enumerate(self.is_fixed):
            if is_fixed:
                inputs += (self.fixed[place],)
            else:
                inputs += (tensors[number],)
                number += 1
        return self.cell(*inputs)


class _Traced(Exception):  # noqa: N818  no error
    """Ends an export before MindSpore adds the weights."""

    def __init__(self, content: bytes) -> None:
        super().__init__("traced")
        self.content = content


def traced(cell: nn.Cell, inputs: tuple[ms.Tensor, ...]) -> bytes:
    """The cell's graph for inputs of these shapes as MindIR, without weights."""

    def stop(model: Any) -> None:
        raise _Traced(model.SerializeToString())

    with tempfile.TemporaryDirectory(prefix="mindvideo-") as folder:
        try:
            ms.export(cell, *inputs, file_name=os.path.join(folder, "graph"), file_format="MINDIR", custom_func=stop)
        except _Traced as found:
            return found.content
    raise RuntimeError("MindSpore exported the graph without handing it over")


class _LoadedGraph:
    """A graph that computes with the weights of the cell it was traced from, whatever becomes of them."""

    def __init__(self, content: bytes, cell: nn.Cell) -> None:
        weights = {each.name: each for each in cell.get_parameters()}
        with tempfile.TemporaryDirectory(prefix="mindvideo-") as folder:
            path = Path(folder) / f"graph{SUFFIX}"
            path.write_bytes(content)
            self._graph = nn.GraphCell(ms.load(str(path)), params_init=weights)
        self._pairs = [(own, weights[own.name]) for own in self._graph.get_parameters()]

    def __call__(self, *tensors: ms.Tensor) -> Any:
        # MindSpore gave the graph copies. Assigned they share the cell's memory (2 microseconds each), until the cell
        # is given weights in other memory.
        for own, weight in self._pairs:
            own.assign_value(weight)
        return self._graph(*tensors)


def _read(name: str | None) -> bytes | None:
    """None where there is none. The end of a file's name is the digest of its content; a damaged one is removed."""
    if name is None:
        return None
    for path in sorted((cache_folder() / FOLDER).glob(f"{name}-*{SUFFIX}")):
        try:
            content = path.read_bytes()
            if path.stem == f"{name}-{_digest(content)}":
                os.utime(path)  # it was used
                return content
            _log.warning("%s is damaged; the graph is compiled again", path)
            path.unlink()
        except OSError:
            continue
    return None


def _write(name: str, content: bytes) -> None:
    folder = cache_folder() / FOLDER
    with atomic_path(folder / f"{name}-{_digest(content)}{SUFFIX}") as temporary:
        temporary.write_bytes(content)
    kept = []
    for path in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(OSError):  # another process may have removed it
            kept.append((path.stat().st_mtime, path))
    for _, path in sorted(kept)[:-MAX_FILES]:
        path.unlink(missing_ok=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
