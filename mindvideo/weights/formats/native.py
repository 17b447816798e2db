"""MindSpore's own checkpoint format (.ckpt), read and written tensor by tensor.

The file is a protocol-buffer message, a list of (name, shape, type, bytes). ``mindspore.load_checkpoint`` reads what is
written here and the other way round; done here, a conversion streams from file to file and needs no device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from mindvideo.errors import UserError
from mindvideo.weights.stored_tensor import (
    STORAGE_TYPES,
    StoredTensor,
    checked_shape,
    from_numpy,
    row_major_strides,
    tensor_view,
)
from mindvideo.weights.varint import read_varint, write_varint

TYPE_NAMES = {
    "float64": "Float64",
    "float32": "Float32",
    "float16": "Float16",
    "bfloat16": "BFloat16",
    "int64": "Int64",
    "int32": "Int32",
    "int16": "Int16",
    "int8": "Int8",
    "uint64": "UInt64",
    "uint32": "UInt32",
    "uint16": "UInt16",
    "uint8": "UInt8",
    "bool": "Bool",
}
TYPES_BY_NAME = {name: dtype for dtype, name in TYPE_NAMES.items()}
STRING_TYPE = "str"
# MindSpore cuts a tensor into pieces of this size; a message must stay below 2 GiB.
MAX_PIECE = 512 * 1024 * 1024
_VALUE, _TAG, _TENSOR, _DIMS, _TYPE, _CONTENT = 0x0A, 0x0A, 0x12, 0x08, 0x12, 0x1A
_CHECKSUM_MARK = b"crc_num"  # MindSpore appends this and ten bytes when asked for a check sum


def looks_native(content: memoryview) -> bool:
    try:
        tag, _, _, _ = next(_values(content))
    except (UserError, StopIteration):
        return False
    return bool(tag)


def storable_natively(name: str, tensor: StoredTensor) -> StoredTensor:
    """The tensor itself, or widened where the format lacks its type (8-bit floats)."""
    stored = tensor if tensor.dtype in TYPE_NAMES else from_numpy(tensor.numpy())
    if stored.dtype not in TYPE_NAMES:
        raise UserError(f"'{name}' is of type {stored.dtype}, which a MindSpore checkpoint cannot hold")
    return stored


def write_native(stream: BinaryIO, tensors: Iterable[tuple[str, StoredTensor]], strings: Mapping[str, str]) -> None:
    """Write ``tensors`` one after the other, then ``strings`` as string entries."""
    for name, tensor in tensors:
        stored = storable_natively(name, tensor)
        content = stored.content().reshape(-1).data.cast("B") if stored.size else memoryview(b"")
        for start in range(0, max(len(content), 1), MAX_PIECE):
            piece = content[start : start + MAX_PIECE]
            _write_value(stream, name, stored.shape, TYPE_NAMES[stored.dtype], piece)
    for name, string in strings.items():
        _write_value(stream, name, (0,), STRING_TYPE, memoryview(string.encode("utf-32-le")))


def read_native(content: memoryview) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """(tensors by name, strings by name)."""
    tensors: dict[str, StoredTensor] = {}
    strings: dict[str, str] = {}
    pieces: dict[str, list[memoryview]] = {}
    heads: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, dims, type_name, piece in _values(content):
        pieces.setdefault(name, []).append(piece)
        heads[name] = (type_name, dims)
    for name, (type_name, dims) in heads.items():
        parts = pieces[name]
        data = parts[0] if len(parts) == 1 else memoryview(b"".join(parts))
        if type_name == STRING_TYPE:
            strings[name] = _string(name, data)
            continue
        if type_name not in TYPES_BY_NAME:
            raise UserError(f"'{name}' has the type {type_name[:20]}; known are {', '.join(TYPES_BY_NAME)}")
        dtype = TYPES_BY_NAME[type_name]
        shape = checked_shape(() if dims == (0,) and len(data) else dims)
        tensor = tensor_view(data, dtype, offset=0, shape=shape, strides=row_major_strides(shape), big_endian=False)
        if tensor.size * np.dtype(STORAGE_TYPES[dtype]).itemsize != len(data):
            raise UserError(f"the file is damaged: '{name}' of shape {shape} has {len(data)} bytes")
        tensors[name] = tensor
    return tensors, strings


def _string(name: str, data: memoryview) -> str:
    try:
        return bytes(data).decode("utf-32-le")
    except UnicodeDecodeError as error:
        raise UserError(f"the file is damaged: its entry '{name}' is no string ({error.reason})") from error


def _write_value(stream: BinaryIO, name: str, dims: tuple[int, ...], type_name: str, piece: memoryview) -> None:
    tag, kind = name.encode(), type_name.encode()
    head = b"".join(bytes([_DIMS]) + write_varint(dim) for dim in dims)
    head += bytes([_TYPE]) + write_varint(len(kind)) + kind + bytes([_CONTENT]) + write_varint(len(piece))
    tensor_size = len(head) + len(piece)
    prefix = bytes([_TAG]) + write_varint(len(tag)) + tag + bytes([_TENSOR]) + write_varint(tensor_size)
    stream.write(bytes([_VALUE]) + write_varint(len(prefix) + tensor_size) + prefix + head)
    stream.write(piece)


def _values(content: memoryview) -> Iterator[tuple[str, tuple[int, ...], str, memoryview]]:
    """Each entry as (name, dims, type name, bytes)."""
    position, end = 0, len(content)
    if end > 17 and bytes(content[end - 17 : end - 10]) == _CHECKSUM_MARK:
        end -= 17
    while position < end:
        field, value, position = _field(content, position, end)
        if field != _VALUE:
            raise UserError(f"the file is damaged: byte {position} is no entry of a MindSpore checkpoint")
        name, type_name, piece = "", "", memoryview(b"")
        dims: tuple[int, ...] = ()
        inner = 0
        while inner < len(value):
            field, part, inner = _field(value, inner, len(value))
            if field == _TAG:
                name = bytes(part).decode("utf-8", "replace")
            elif field == _TENSOR:
                sizes, type_name, piece = _tensor_message(part)
                dims = tuple(sizes)
        if not type_name:
            raise UserError(f"entry '{name}' is no tensor; only tensors and strings can be read from a checkpoint")
        yield name, dims, type_name, piece


def _tensor_message(message: memoryview) -> tuple[list[int], str, memoryview]:
    dims: list[int] = []
    type_name, piece, position = "", memoryview(b""), 0
    while position < len(message):
        field, value, position = _field(message, position, len(message))
        if field == _DIMS:
            dims.append(value)
        elif field == _TYPE:
            type_name = bytes(value).decode("utf-8", "replace")
        elif field == _CONTENT:
            piece = value
    return dims, type_name, piece


def _field(buffer: memoryview, position: int, end: int) -> tuple[int, Any, int]:
    """(field and wire type, value, next position): an integer for wire type 0, bytes for 2."""
    field, position = read_varint(buffer, position, end)
    value, position = read_varint(buffer, position, end)
    if field & 7 == 0:
        return field, value, position
    if field & 7 != 2:
        raise UserError(f"the file is damaged: byte {position} is no entry of a MindSpore checkpoint")
    if position + value > end:
        raise UserError(f"the file is cut short: an entry ends at byte {position + value} of {end}")
    return field, buffer[position : position + value], position + value
