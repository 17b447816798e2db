"""A restricted reader of the pickles inside PyTorch files: it builds tensors and plain containers, and nothing else.

A pickle is a program: it may name any function of any installed module and have it called. Here a name is looked up in
the closed table below, never imported, and what is not in the table is refused by name before anything is called.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, ClassVar

import numpy as np

from mindvideo.errors import UserError
from mindvideo.weights.formats.pickle_machine import PickleMachine, checked_key
from mindvideo.weights.stored_tensor import MAX_COUNT, MAX_DIMENSIONS, STORAGE_TYPES, StoredTensor, tensor_view

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
CONTAINERS = (list, tuple, dict, set, frozenset)
MAX_COPIED = 1 << 24  # values and bytes
# Reading bytes that are no pickle, or that end too soon, raises these.
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


class Settings:
    """Stand-in for an ``argparse.Namespace`` in a file: its values as inert data."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}


@dataclasses.dataclass(frozen=True)
class StorageType:
    """Stand-in for a storage class or a ``torch.dtype``: the name of the element type."""

    dtype: str
    is_plain_key: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True)
class PendingTensor:
    """A tensor whose bytes have not been looked up yet (the legacy format stores them after the pickle)."""

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
    """The reference of a tensor to a storage, by its key, with the element type it was saved with."""

    key: str
    dtype: str
    base: int = 0


@contextlib.contextmanager
def damage_explained() -> Iterator[None]:
    """Turn what reading damaged bytes raises into one clear line."""
    try:
        yield
    except DAMAGED_PICKLE_ERRORS as error:
        raise UserError(f"the file is cut short or damaged: its pickle cannot be read ({error})") from error


def read_pickle(stream: BinaryIO | io.RawIOBase, *, storage_sizes: dict[str, int] | None = None) -> Any:
    """The object of the next pickle in ``stream``, its tensors as :class:`PendingTensor`.

    ``storage_sizes`` receives the number of bytes that the pickle claims for every storage.
    """
    world = _CheckpointWorld(storage_sizes if storage_sizes is not None else {})
    with damage_explained():
        return PickleMachine(world).run(stream)


class _CheckpointWorld:
    """The names, calls and references that a checkpoint's pickle may use; it counts copied values, for one pickle."""

    def __init__(self, storage_sizes: dict[str, int]) -> None:
        self.storage_sizes = storage_sizes
        self.copied = 0

    def named(self, module: str, name: str) -> Any:
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

    def call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Builder) or not isinstance(arguments, tuple):
            raise pickle.UnpicklingError(f"it calls a {type(function).__name__}")
        # A few bytes can ask for the copy of a large object any number of times.
        self.copied += sum(len(item) for item in arguments if isinstance(item, (str, bytes, *CONTAINERS)))
        if self.copied > MAX_COPIED:
            raise UserError(f"the file copies more than {MAX_COPIED} values within itself; no checkpoint does")
        return function.build(*arguments)

    def set_state(self, owner: Any, state: Any) -> None:
        """Attributes of a Namespace are its values; those of dictionaries and tensors are let go."""
        if isinstance(owner, Settings) and isinstance(state, dict):
            owner.values = state
        elif not isinstance(owner, (dict, PendingTensor)):
            raise UserError(
                f"the file tries to change a {type(owner).__name__} of its reader, which no PyTorch version does"
            )

    def referred(self, reference: Any) -> PendingStorage:
        """('storage', class, key, device, elements) and, in the legacy format, (view key, offset, size) or None."""
        if not isinstance(reference, tuple) or len(reference) not in (5, 6) or reference[0] != "storage":
            kind = reference[0] if isinstance(reference, tuple) and reference else reference
            kind = repr(kind[:40]) if isinstance(kind, str) else type(kind).__name__
            raise UserError(f"the file refers to an outside object of kind {kind}; only tensors can be read")
        _, storage_type, key, _, elements = reference[:5]
        if not isinstance(storage_type, StorageType) or not is_count(elements) or not is_storage_key(key):
            raise UserError("the file describes a storage in a way no PyTorch version writes; it is damaged")
        itemsize = np.dtype(STORAGE_TYPES[storage_type.dtype]).itemsize
        base = 0
        if len(reference) == 6 and reference[5] is not None:
            base = _whole(reference[5][1])
        self.storage_sizes[str(key)] = elements * itemsize
        return PendingStorage(str(key), storage_type.dtype, base)


class Builder:
    """A function that a file may call, in a shell that a file cannot change."""

    __slots__ = ("build",)

    def __init__(self, build: Callable[..., Any]) -> None:
        self.build = build


def is_count(value: Any) -> bool:
    """A plain integer from 0 to what a 64-bit machine can count."""
    return type(value) is int and 0 <= value < MAX_COUNT


def is_storage_key(key: Any) -> bool:
    """PyTorch writes numbers, as strings or integers."""
    return is_count(key) or (isinstance(key, str) and len(key) <= 64)


def _whole(value: Any) -> int:
    if not is_count(value):
        raise ValueError("a size or place of a tensor is no whole number from 0 up")
    return value


def _sizes(values: Any) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or len(values) > MAX_DIMENSIONS:
        raise ValueError(f"the shape of a tensor is no list of up to {MAX_DIMENSIONS} numbers")
    return tuple(map(_whole, values))


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> PendingTensor:
    """torch._utils._rebuild_tensor and _rebuild_tensor_v2."""
    if not isinstance(storage, PendingStorage):
        raise UserError("the file builds a tensor from something that is not a storage; it is damaged")
    return PendingTensor(storage.key, storage.base, storage.dtype, _whole(offset), _sizes(shape), _sizes(strides))


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
    if not isinstance(rebuild, Builder) or rebuild.build not in (_tensor, _typed_tensor, _first_argument):
        raise UserError("the file builds a tensor with an unknown function; nothing was run")
    return rebuild.build(*arguments)


def _plain_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _latin1_bytes(string: str, encoding: str) -> bytes:
    """_codecs.encode, in the one form in which pickle writes bytes."""
    if encoding != "latin1" or not isinstance(string, str):
        raise UserError("the file holds bytes in an encoding that pickle never writes; it is damaged")
    return string.encode("latin1")


def _never_called(*_: Any) -> None:
    raise UserError("the file calls a tensor class itself, which no PyTorch version writes; nothing was run")


def _device(*parts: Any) -> str:
    if len(parts) > 2 or not all(isinstance(part, str) or is_count(part) for part in parts):
        raise UserError("the file names a device in a way no PyTorch version writes; it is damaged")
    return ":".join(str(part)[:20] for part in parts)


def _number(kind: Callable[..., Any]) -> Callable[..., Any]:
    """int, float or complex of numbers; a string of digits could take long to read."""

    def build(*values: Any) -> Any:
        if not all(isinstance(value, (int, float)) for value in values):
            raise pickle.UnpicklingError(f"{getattr(kind, '__name__', kind)} of something that is no number")
        return kind(*values)

    return build


def _container(kind: Any) -> Callable[..., Any]:
    """A list, set or dictionary from at most one other, its keys looked at before they are used."""

    def build(*contents: Any) -> Any:
        if len(contents) > 1 or not all(isinstance(content, CONTAINERS) for content in contents):
            raise pickle.UnpicklingError(f"{kind.__name__} of something else than one container")
        items = contents[0] if contents else ()
        if issubclass(kind, dict):
            pairs = list(items.items()) if isinstance(items, dict) else list(items)
            for pair in pairs:
                if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                    raise pickle.UnpicklingError("a dictionary of something else than pairs")
            return kind((checked_key(key), value) for key, value in pairs)
        return kind(map(checked_key, items)) if kind in (set, frozenset) else kind(items)

    return build


_BUILDERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _container(OrderedDict),
    ("collections", "defaultdict"): _plain_dict,
    ("collections", "Counter"): _plain_dict,
    ("builtins", "set"): _container(set),
    ("__builtin__", "set"): _container(set),
    ("builtins", "frozenset"): _container(frozenset),
    ("builtins", "complex"): _number(complex),
    ("builtins", "dict"): _container(dict),
    ("builtins", "list"): _container(list),
    ("builtins", "int"): _number(int),
    ("builtins", "float"): _number(float),
    ("_codecs", "encode"): _latin1_bytes,
    ("argparse", "Namespace"): Settings,
    ("torch", "Size"): _container(tuple),
    ("torch", "device"): _device,
    ("torch", "Tensor"): _never_called,
    ("torch.nn.parameter", "Parameter"): _never_called,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _typed_tensor,
    ("torch._utils", "_rebuild_parameter"): _first_argument,
    ("torch._utils", "_rebuild_parameter_with_state"): _first_argument,
    ("torch._tensor", "_rebuild_from_type_v2"): _attributed_tensor,
}
ALLOWED_NAMES: dict[tuple[str, str], Builder] = {place: Builder(build) for place, build in _BUILDERS.items()}
