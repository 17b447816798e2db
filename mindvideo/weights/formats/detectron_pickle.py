"""Reads detectron2's ``.pkl`` weights: a pickle of NumPy arrays, built without asking NumPy to unpickle anything.

As in the reader of PyTorch's pickles a name is looked up in a closed table and never imported.
"""

from __future__ import annotations

import dataclasses
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from mindvideo.errors import UserError
from mindvideo.weights.formats.pickle_machine import PickleMachine
from mindvideo.weights.formats.torch_pickle import ALLOWED_NAMES, MAX_COPIED, Builder, damage_explained
from mindvideo.weights.formats.torch_reader import BufferFile
from mindvideo.weights.stored_tensor import STORAGE_TYPES, StoredTensor, checked_shape, row_major_strides, tensor_view

PICKLE_START = b"\x80"  # of protocols 2 to 5
PLAIN = ("collections", "builtins", "__builtin__", "_codecs")  # modules whose names the other reader's table may give
ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
# ``f4`` and so on -> our name of the type.
TYPE_CODES = {np.dtype(dtype).str[1:]: name for name, dtype in STORAGE_TYPES.items() if np.dtype(dtype).name == name}
# A ResNet of detectron2, as its tools make it from torchvision's -> torchvision's own names.
_RESNET = (
    (re.compile(r"stem\.conv1\.norm\.(.+)"), r"bn1.\1"),
    (re.compile(r"stem\.conv1\.(weight)"), r"conv1.\1"),
    (re.compile(r"res(\d)\.(\d+)\.conv(\d)\.norm\.(.+)"), r"layer{stage}.\2.bn\3.\4"),
    (re.compile(r"res(\d)\.(\d+)\.conv(\d)\.(weight)"), r"layer{stage}.\2.conv\3.\4"),
    (re.compile(r"res(\d)\.(\d+)\.shortcut\.norm\.(.+)"), r"layer{stage}.\2.downsample.1.\3"),
    (re.compile(r"res(\d)\.(\d+)\.shortcut\.(weight)"), r"layer{stage}.\2.downsample.0.\3"),
    (re.compile(r"stem\.(fc)\.(.+)"), r"\1.\2"),
)


@dataclasses.dataclass
class PendingType:
    """A NumPy type: its code, and its byte order once its state is known."""

    code: str
    big_endian: bool = False


class PendingArray:
    """An array before and after its state."""

    def __init__(self) -> None:
        self.tensor: StoredTensor | None = None


class _ArrayWorld:
    """The names, calls and states that a pickle of arrays may use; it counts copied values, for one pickle."""

    def __init__(self) -> None:
        self.copied = 0

    def named(self, module: str, name: str) -> Any:
        if module in PLAIN and (module, name) in ALLOWED_NAMES:
            return ALLOWED_NAMES[module, name]
        if (module, name) not in _ARRAY_NAMES:
            raise UserError(
                f"the file asks for '{module}.{name}', which is neither an array nor plain data; nothing was run"
            )
        return _ARRAY_NAMES[module, name]

    def call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Builder) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError(f"it calls a {type(function).__name__}")
        self.copied += sum(len(item) for item in arguments if isinstance(item, (list, tuple, dict, set)))
        if self.copied > MAX_COPIED:
            raise UserError(f"the file copies more than {MAX_COPIED} values within itself; no checkpoint does")
        return function.build(*arguments)

    def set_state(self, owner: Any, state: Any) -> None:
        if isinstance(owner, PendingArray):
            owner.tensor = _tensor_of(state)
        elif isinstance(owner, PendingType) and isinstance(state, tuple) and len(state) > 1:
            owner.big_endian = state[1] == ">"
        elif not isinstance(owner, dict):
            raise UserError(f"the file tries to change a {type(owner).__name__} of its reader; nothing was run")

    def referred(self, reference: Any) -> Any:
        raise UserError("the file refers to an object outside itself, which no file of arrays does")


def _tensor_of(state: Any) -> StoredTensor:
    """(version, shape, type, whether column by column, bytes), as NumPy pickles an array."""
    if not isinstance(state, tuple) or len(state) != 5:
        raise ValueError("the state of an array is not five values")
    _, shape, kind, by_columns, content = state
    if isinstance(content, str):  # a byte string of Python 2
        content = content.encode("utf-8")
    if not isinstance(kind, PendingType):
        raise ValueError("the state of an array has no type")
    if kind.code not in TYPE_CODES:
        raise UserError(f"an array has the type {kind.code[:20]!r}; known are {', '.join(TYPE_CODES)}")
    if not isinstance(content, bytes):
        raise ValueError("the state of an array has no bytes")
    shape = checked_shape(shape)
    dtype = TYPE_CODES[kind.code]
    strides = tuple(reversed(row_major_strides(shape[::-1]))) if by_columns else row_major_strides(shape)
    if math.prod(shape) * np.dtype(STORAGE_TYPES[dtype]).itemsize != len(content):
        raise ValueError(f"an array of shape {shape} has {len(content)} bytes")
    return tensor_view(memoryview(content), dtype, offset=0, shape=shape, strides=strides, big_endian=kind.big_endian)


def _array(*_: Any) -> PendingArray:
    return PendingArray()


def _type(code: Any, *_: Any) -> PendingType:
    if isinstance(code, PendingType):
        return code
    if not isinstance(code, (str, bytes)) or len(code) > 8:
        raise ValueError("a type of an array without a name")
    return PendingType(code if isinstance(code, str) else code.decode("latin1"))


def _scalar(kind: Any, content: Any = b"", *_: Any) -> float | int:
    """A NumPy number, as files hold beside the weights."""
    content = content.encode("utf-8") if isinstance(content, str) else content
    tensor = _tensor_of((1, (), kind, False, content))
    return tensor.numpy().item()


def _never_called(*_: Any) -> None:
    raise UserError("the file calls a class of NumPy itself, which NumPy never writes; nothing was run")


def _no_bytes() -> bytes:
    """Protocol 2 has no form for an empty byte string but this call."""
    return b""


def _array_names() -> dict[tuple[str, str], Builder]:
    builders: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): _never_called,
        ("numpy", "dtype"): _type,
        ("builtins", "bytes"): _no_bytes,
        ("__builtin__", "bytes"): _no_bytes,
    }
    for module in ARRAY_MODULES:
        builders |= {(module, "_reconstruct"): _array, (module, "scalar"): _scalar}
    return {place: Builder(build) for place, build in builders.items()}


_ARRAY_NAMES = _array_names()


def looks_like_pickle(content: memoryview) -> bool:
    return len(content) > 2 and bytes(content[:1]) == PICKLE_START and 2 <= content[1] <= 5


def read_array_pickle(content: memoryview) -> Any:
    """The object in the file, its arrays as :class:`StoredTensor`."""
    with damage_explained():
        return _resolved(PickleMachine(_ArrayWorld()).run(BufferFile(content)), depth=0)


def _resolved(value: Any, *, depth: int) -> Any:
    if depth > 8:
        raise UserError("the file nests its data deeper than any checkpoint does; it was not read")
    if isinstance(value, PendingArray):
        if value.tensor is None:
            raise ValueError("an array has no values")
        return value.tensor
    if isinstance(value, dict):
        return {key: _resolved(item, depth=depth + 1) for key, item in value.items()}
    return value


def torchvision_name(name: str) -> str:
    """torchvision's name of an entry of detectron2's ResNet; any other name as it is.

    >>> torchvision_name("res2.0.conv1.norm.running_var")
    'layer1.0.bn1.running_var'
    """
    for pattern, replacement in _RESNET:
        if match := pattern.fullmatch(name):
            stage = int(match[1]) - 1 if name.startswith("res") else 0
            return match.expand(replacement).replace("{stage}", str(stage))
    return name
