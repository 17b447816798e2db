"""A digest of everything that decides what graph a cell compiles to, its weights left out."""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import sys
import time
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, nn, ops

from mindvideo.native_library import CHOICE_VARIABLE, library_folder
from mindvideo.ops.backend import backend, instruction_set
from mindvideo.resources import PACKAGE

# Attributes that every cell has, of which only its mode matters; a description that holds addresses; and what MindSpore
# leaves in a cell that was compiled by itself.
_LEFT_BY_COMPILING = {"current_phase", "sequence_modified", "__compile_cell_hook__", "__parse_method__"}
_BEGAN = time.time_ns()
_OF_EVERY_CELL = (frozenset(vars(nn.Cell())) - {"training"}) | {"_cell_init_args"} | _LEFT_BY_COMPILING


def fingerprint(cell: nn.Cell) -> str | None:
    """Hexadecimal. Cells of one fingerprint compile, for the same inputs, to the same graph.

    What counts: the kinds, settings and constants of the cell and all cells in it, the shapes of their weights, the
    sources of this package and of other modules whose cells take part, MindSpore, and the compiled library. None where
    a source was edited since this process began, whose cells may then be those of the file before.
    """
    digest = hashlib.sha256()
    for word in _words_of(cell, {}):
        digest.update(word.encode() + b"\0")
    for path in sorted(_sources(cell)):
        if path.stat().st_mtime_ns > _BEGAN:
            return None
        digest.update(_digest_of_file(path))
    native = instruction_set() if backend() == "cpu" else None
    surroundings = (ms.__version__, sys.version_info[:2], ms.get_context("device_target"), backend(), native)
    digest.update(repr((surroundings, os.environ.get(CHOICE_VARIABLE))).encode())
    for library in sorted(library_folder().glob("*.so")):
        digest.update(str(library).encode() + _digest_of_file(library))
    return digest.hexdigest()


@functools.cache
def _digest_of_file(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def _sources(cell: nn.Cell) -> set[Path]:
    """Files of this package, and of the classes that are neither its nor MindSpore's."""
    others = {inspect.getmodule(type(each)) for _, each in cell.cells_and_names()}
    files = {Path(module.__file__) for module in others if module is not None and module.__file__}
    outside = {path for path in files if "mindspore" not in path.parts}
    return {*PACKAGE.rglob("*.py"), *outside}


def _words_of(value: Any, seen: dict[int, tuple[int, Any]]) -> Iterator[str]:
    """A value as words; an object that was met before is named by its number.

    ``seen`` holds the objects, so that none makes room for another of the same address.
    """
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        yield repr(value)
        return
    if id(value) in seen:
        yield f"as {seen[id(value)][0]}"
        return
    if not isinstance(value, tuple):
        seen[id(value)] = (len(seen), value)
    yield _name_of(type(value))
    for each in _parts_of(value):
        yield from _words_of(each, seen)


@functools.singledispatch
def _parts_of(value: Any) -> Iterable[Any]:
    """The things that a value consists of."""
    # Where a string holds an address the graph is not found again, which costs time and nothing else.
    return _items(vars(value)) if hasattr(value, "__dict__") else [repr(value)]


def _items(named: Mapping[Any, Any]) -> list[Any]:
    return [each for item in named.items() for each in item]


@_parts_of.register
def _(value: Mapping) -> Iterable[Any]:
    return _items(value)


@_parts_of.register(list)
@_parts_of.register(tuple)
def _(value: Iterable[Any]) -> Iterable[Any]:
    return value


@_parts_of.register(set)
@_parts_of.register(frozenset)
def _(value: Iterable[Any]) -> Iterable[Any]:
    return sorted(repr(each) for each in value)


@_parts_of.register
def _(value: np.ndarray) -> Iterable[Any]:
    return [str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).digest()]


@_parts_of.register
def _(value: ms.Tensor) -> Iterable[Any]:
    return _parts_of(value.asnumpy())


@_parts_of.register
def _(value: Parameter) -> Iterable[Any]:
    return [value.name, value.shape, str(value.dtype)]  # its numbers are no part of the graph


@_parts_of.register
def _(value: nn.Cell) -> Iterable[Any]:
    own = {name: held for name, held in vars(value).items() if name not in _OF_EVERY_CELL}
    own = {
        name: held for name, held in own.items() if not (isinstance(held, dict) and not held)
    }  # left by compiling, too
    return _items({**own, **value._cells, **value._params})  # where MindSpore puts them


@_parts_of.register
def _(value: ops.Primitive) -> Iterable[Any]:
    return [value.name, *_items(value.attrs), *_items(vars(value))]


@_parts_of.register
def _(value: type) -> Iterable[Any]:
    return [_name_of(value)]


@_parts_of.register
def _(value: types.BuiltinFunctionType) -> Iterable[Any]:
    return [_name_of(value), value.__self__ if not isinstance(value.__self__, types.ModuleType) else None]


@_parts_of.register
def _(value: types.MethodType) -> Iterable[Any]:
    return [value.__func__, value.__self__]


@_parts_of.register
def _(value: types.FunctionType) -> Iterable[Any]:
    enclosed = [each.cell_contents for each in value.__closure__ or ()]
    return [_name_of(value), *enclosed, value.__defaults__, value.__kwdefaults__]


@_parts_of.register
def _(value: functools.partial) -> Iterable[Any]:
    return [value.func, value.args, value.keywords]


def _name_of(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"
