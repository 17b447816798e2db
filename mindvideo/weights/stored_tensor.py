"""A tensor as it lies in a checkpoint file: type, shape, strides and bytes, without a copy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mindvideo.errors import UserError

# Type name -> the NumPy type that its bytes are read as. bfloat16 and the 8-bit floats, which NumPy does not have, are
# read as bits and widened on demand.
STORAGE_TYPES: dict[str, str] = {
    "float64": "f8",
    "float32": "f4",
    "float16": "f2",
    "bfloat16": "u2",
    "float8_e4m3fn": "u1",
    "float8_e5m2": "u1",
    "int64": "i8",
    "int32": "i4",
    "int16": "i2",
    "int8": "i1",
    "uint64": "u8",
    "uint32": "u4",
    "uint16": "u2",
    "uint8": "u1",
    "bool": "?",
    "complex64": "c8",
    "complex128": "c16",
}
WIDENED_TYPES = ("bfloat16", "float8_e4m3fn", "float8_e5m2")
# NumPy has no arrays of more dimensions, and its strided views of them write beyond their own memory.
MAX_DIMENSIONS = 32
MAX_COUNT = 1 << 62
MAX_ELEMENTS = 1 << 48


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """``shape`` and ``dtype`` (a key of STORAGE_TYPES), and ``bits``: the values in their storage type, a view of the
    file. The view may be strided and is read only."""

    dtype: str
    bits: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.bits.shape

    @property
    def size(self) -> int:
        return self.bits.size

    def numpy(self) -> np.ndarray:
        """The values; bfloat16 and 8-bit floats become float32, which loses nothing."""
        if self.dtype == "bfloat16":
            return (self.bits.astype(np.uint32) << 16).view(np.float32)
        if self.dtype in WIDENED_TYPES:
            return _float8_table(self.dtype)[self.bits]
        return self.bits.astype(self.bits.dtype.newbyteorder("="), copy=False)

    def content(self) -> np.ndarray:
        """The storage type's values in row-major order and little-endian bytes; a copy only if they are not so yet."""
        return np.ascontiguousarray(self.bits, self.bits.dtype.newbyteorder("<")).reshape(self.shape)


def from_numpy(values: np.ndarray) -> StoredTensor:
    """A tensor of one of NumPy's own types."""
    name = values.dtype.name
    if name not in STORAGE_TYPES:
        raise UserError(f"a checkpoint cannot hold values of type {name}; it can hold {', '.join(STORAGE_TYPES)}")
    return StoredTensor(name, values)


def checked_shape(sizes: Sequence[Any]) -> tuple[int, ...]:
    """``sizes`` as a shape, or UserError; looked at before anything is computed from it."""
    if not isinstance(sizes, (list, tuple)) or len(sizes) > MAX_DIMENSIONS:
        given = f"{len(sizes)} dimensions" if isinstance(sizes, (list, tuple)) else f"a {type(sizes).__name__} as shape"
        raise UserError(f"a tensor has {given}; at most {MAX_DIMENSIONS} are allowed, the file is damaged")
    if not all(type(size) is int and 0 <= size < MAX_COUNT for size in sizes):
        raise UserError("the shape of a tensor holds something else than whole numbers from 0 up; the file is damaged")
    if math.prod(size for size in sizes if size) > MAX_ELEMENTS:
        raise UserError("a tensor has more elements than any memory holds; the file is damaged")
    return tuple(sizes)


def tensor_view(
    buffer: memoryview, dtype: str, *, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], big_endian: bool
) -> StoredTensor:
    """View ``buffer`` (one storage) as a tensor; ``offset`` and ``strides`` count elements.

    Every element must lie inside the buffer: a file that says otherwise is refused, since reading on would show
    memory that does not belong to it.
    """
    storage_type = np.dtype(STORAGE_TYPES[dtype]).newbyteorder(">" if big_endian else "<")
    elements = len(buffer) // storage_type.itemsize
    shape = checked_shape(shape)
    if len(shape) != len(strides) or not all(0 <= number < MAX_COUNT for number in (offset, *strides)):
        raise UserError(f"a tensor has the shape {shape}, strides {strides}, offset {offset}: the file is damaged")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    if math.prod(shape) and last >= elements:
        raise UserError(
            f"a tensor of shape {shape} reaches element {last} of a storage with {elements}: the file is damaged or cut"
        )
    flat = np.frombuffer(buffer, storage_type, count=elements)
    flat.flags.writeable = False
    if not math.prod(shape):
        return StoredTensor(dtype, np.zeros(shape, storage_type))
    byte_strides = tuple(stride * storage_type.itemsize for stride in strides)
    bits = np.lib.stride_tricks.as_strided(flat[offset:], shape, byte_strides, writeable=False)
    return StoredTensor(dtype, bits)


def row_major_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def _float8_table(dtype: str) -> np.ndarray:
    """The 256 values of an 8-bit float, float32."""
    exponent_bits, mantissa_bits, bias = (4, 3, 7) if dtype == "float8_e4m3fn" else (5, 2, 15)
    code = np.arange(256)
    sign = np.where(code & 0x80, -1.0, 1.0)
    exponent = (code >> mantissa_bits) & (2**exponent_bits - 1)
    mantissa = (code & (2**mantissa_bits - 1)) / 2.0**mantissa_bits
    value = np.where(exponent == 0, mantissa * 2.0 ** (1 - bias), (1.0 + mantissa) * 2.0 ** (exponent - bias))
    if dtype == "float8_e4m3fn":
        value[(code & 0x7F) == 0x7F] = np.nan
    else:
        top = exponent == 31
        value[top] = np.where(mantissa[top] == 0, np.inf, np.nan)
    return (sign * value).astype(np.float32)
