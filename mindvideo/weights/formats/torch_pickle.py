"""A restricted reader of the pickles inside PyTorch files: it builds tensors and plain containers, and nothing else.

A pickle is a program: it may name any function of any installed module and have it called. Here a name is looked up in
the closed table below, never imported, and what is not in the table is refused by name before anything is called.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from mindvideo.errors import UserError
from mindvideo.weights.stored_tensor import STORAGE_TYPES, StoredTensor, tensor_view

STORAGE_CLASSES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "UntypedStorage": "uint8",
}
# What the unpickler raises on bytes that are no pickle, or that end too soon.
DAMAGED_PICKLE_ERRORS = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
)


# Values, containers, the memo, names, calls, states, references to storages. Missing on purpose: the text forms of
# protocol 0, the old ways to make instances (INST, OBJ), the extension registry, and buffers from outside.
ALLOWED_INSTRUCTIONS = frozenset(
    "PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT BINSTRING "
    "SHORT_BINSTRING SHORT_BINUNICODE BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 EMPTY_LIST APPEND "
    "APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT SETITEM SETITEMS EMPTY_SET ADDITEMS FROZENSET BINGET "
    "LONG_BINGET BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL REDUCE BUILD NEWOBJ BINPERSID".split()
)


class Settings:
    """Stand-in for an ``argparse.Namespace`` in a file: its values as inert data."""

    values: dict[str, Any]

    def __new__(cls, *_: Any) -> Settings:
        made = super().__new__(cls)
        made.values = {}
        return made

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("a Namespace without its values")
        self.values = state


@dataclasses.dataclass(frozen=True)
class StorageType:
    """Stand-in for a storage class or a ``torch.dtype``: the name of the element type."""

    dtype: str


@dataclasses.dataclass(frozen=True)
class PendingTensor:
    """A tensor whose bytes have not been looked up yet (the legacy format stores them behind the pickle)."""

    storage_key: str
    base: int  # first element of the storage that this view of it starts at
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def on(self, buffer: memoryview, big_endian: bool) -> StoredTensor:
        return tensor_view(
            buffer,
            self.dtype,
            offset=self.base + self.offset,
            shape=self.shape,
            strides=self.strides,
            big_endian=big_endian,
        )


@dataclasses.dataclass(frozen=True)
class PendingStorage:
    """What a tensor refers to: a storage by its key, and the element type it was saved with."""

    key: str
    dtype: str
    base: int = 0


def read_pickle(stream: BinaryIO, *, storage_sizes: dict[str, int] | None = None) -> Any:
    """The object of the next pickle in ``stream``, its tensors as :class:`PendingTensor`.

    ``storage_sizes`` receives the number of bytes that the pickle claims for every storage.
    """
    unpickler = _RestrictedUnpickler(stream, encoding="utf-8")
    unpickler.storage_sizes = storage_sizes if storage_sizes is not None else {}
    with damage_explained():
        _check_instructions(stream)
        return unpickler.load()


@contextlib.contextmanager
def damage_explained() -> Iterator[None]:
    """Turn what reading damaged bytes raises into one clear line."""
    try:
        yield
    except DAMAGED_PICKLE_ERRORS as error:
        raise UserError(f"the file is cut short or damaged: its pickle cannot be read ({error})") from error


def _check_instructions(stream: BinaryIO) -> None:
    """Read the next pickle without executing it, and refuse what ``torch.save`` never writes.

    Besides the kinds of instruction this bounds the memo: the unpickler allocates as many places as the greatest
    number that it is told to remember under, so that a few damaged bytes could ask for all memory.
    """
    start = stream.tell()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if opcode.name not in ALLOWED_INSTRUCTIONS:
            raise UserError(
                f"the file uses the pickle instruction {opcode.name}, which torch.save never writes; nothing was run"
            )
        if opcode.name in {"BINPUT", "LONG_BINPUT"} and argument > count:
            raise UserError(f"the file is damaged: instruction {count} of its pickle remembers {argument} objects")
    stream.seek(start)


class _RestrictedUnpickler(pickle.Unpickler):
    storage_sizes: dict[str, int]

    def find_class(self, module: str, name: str) -> Any:
        if module in {"torch", "torch.storage"} and name in STORAGE_CLASSES:
            return StorageType(STORAGE_CLASSES[name])
        if module == "torch" and name in STORAGE_TYPES:
            return StorageType(name)
        if (module, name) not in ALLOWED_NAMES:
            raise UserError(
                f"the file asks for '{module}.{name}', which is neither a tensor nor plain data; nothing was run. "
                "Only open it with PyTorch if you trust its author; there, torch.save(model.state_dict(), FILE) "
                "writes a file that can be read here"
            )
        return ALLOWED_NAMES[module, name]

    def persistent_load(self, reference: Any) -> PendingStorage:
        """('storage', class, key, device, elements) and, in the legacy format, (view key, offset, size) or None."""
        if not isinstance(reference, tuple) or len(reference) not in (5, 6) or reference[0] != "storage":
            kind = reference[0] if isinstance(reference, tuple) and reference else reference
            raise UserError(f"the file refers to an outside object of kind {kind!r}; only tensors can be read")
        _, storage_type, key, _, elements = reference[:5]
        if not isinstance(storage_type, StorageType) or not isinstance(elements, int) or elements < 0:
            raise UserError("the file describes a storage in a way no PyTorch version writes; it is damaged")
        itemsize = np.dtype(STORAGE_TYPES[storage_type.dtype]).itemsize
        base = 0
        if len(reference) == 6 and reference[5] is not None:
            base = int(reference[5][1])
        self.storage_sizes[str(key)] = elements * itemsize
        return PendingStorage(str(key), storage_type.dtype, base)


class _Builder:
    """A function that a file may call, in a shell that a file cannot change."""

    __slots__ = ("build",)

    def __init__(self, build: Callable[..., Any]) -> None:
        self.build = build

    def __call__(self, *arguments: Any) -> Any:
        return self.build(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise UserError("the file tries to change a function of its reader, which no PyTorch version does")


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> PendingTensor:
    """torch._utils._rebuild_tensor and _rebuild_tensor_v2."""
    if not isinstance(storage, PendingStorage):
        raise UserError("the file builds a tensor from something that is not a storage; it is damaged")
    sizes, steps = tuple(map(int, shape)), tuple(map(int, strides))
    return PendingTensor(storage.key, storage.base, storage.dtype, int(offset), sizes, steps)


def _typed_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> PendingTensor:
    """torch._utils._rebuild_tensor_v3: an untyped storage, and the element type given apart."""
    if len(rest) < 3 or not isinstance(rest[2], StorageType):
        raise UserError("the file builds a tensor without an element type; it is damaged")
    return dataclasses.replace(_tensor(storage, offset, shape, strides), dtype=rest[2].dtype)


def _first_argument(tensor: Any, *_: Any) -> Any:
    """torch._utils._rebuild_parameter and its form with a state: the tensor inside."""
    return tensor


def _attributed_tensor(rebuild: Any, _: Any, arguments: Any, *__: Any) -> Any:
    """torch._tensor._rebuild_from_type_v2: a tensor that had Python attributes."""
    if not isinstance(rebuild, _Builder) or rebuild.build not in (_tensor, _typed_tensor, _first_argument):
        raise UserError("the file builds a tensor with an unknown function; nothing was run")
    return rebuild(*arguments)


def _plain_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _latin1_bytes(text: str, encoding: str) -> bytes:
    """_codecs.encode, in the one form in which pickle writes bytes."""
    if encoding != "latin1":
        raise UserError(f"the file holds bytes encoded as {encoding!r}, which pickle never writes; it is damaged")
    return text.encode("latin1")


def _never_called(*_: Any) -> None:
    raise UserError("the file calls a tensor class itself, which no PyTorch version writes; nothing was run")


def _text(*parts: Any) -> str:
    return ":".join(map(str, parts))


ALLOWED_NAMES: dict[tuple[str, str], _Builder | type] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): _Builder(_plain_dict),
    ("collections", "Counter"): _Builder(_plain_dict),
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "complex"): complex,
    ("builtins", "dict"): dict,
    ("builtins", "list"): list,
    ("builtins", "int"): int,
    ("builtins", "float"): float,
    ("_codecs", "encode"): _Builder(_latin1_bytes),
    ("argparse", "Namespace"): Settings,
    ("torch", "Size"): tuple,
    ("torch", "device"): _Builder(_text),
    ("torch", "Tensor"): _Builder(_never_called),
    ("torch.nn.parameter", "Parameter"): _Builder(_never_called),
    ("torch._utils", "_rebuild_tensor"): _Builder(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Builder(_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): _Builder(_typed_tensor),
    ("torch._utils", "_rebuild_parameter"): _Builder(_first_argument),
    ("torch._utils", "_rebuild_parameter_with_state"): _Builder(_first_argument),
    ("torch._tensor", "_rebuild_from_type_v2"): _Builder(_attributed_tensor),
}
