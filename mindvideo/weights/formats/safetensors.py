"""Reads and writes the safetensors format: a JSON table, then the bytes of the tensors.

It is written here, one tensor after the other: the package safetensors wants all of them in memory at once, and takes
bfloat16 only from some versions on. The tests read the files with it.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

from mindvideo.errors import UserError
from mindvideo.files import atomic_path
from mindvideo.weights.stored_tensor import StoredTensor, checked_shape, row_major_strides, tensor_view

TYPE_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}
_CODES = {name: code for code, name in TYPE_NAMES.items()}
_ALIGNMENT = 8  # bytes, at which the tensors begin
MAX_HEADER = 16_000_000  # bytes; a header takes some 80 a tensor


def looks_like_safetensors(content: memoryview) -> bool:
    """Eight bytes of length, then JSON that starts with a brace."""
    return len(content) >= 10 and 2 <= _header_length(content) <= MAX_HEADER and bytes(content[8:9]) == b"{"


def read_safetensors(content: memoryview) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """(tensors by name, the file's own metadata)."""
    start = 8 + _header_length(content)
    if start > len(content):
        raise UserError(f"the file is cut short: its header of {start} bytes is longer than its {len(content)} bytes")
    try:
        header = json.loads(bytes(content[8:start]))
        metadata = {key: value for key, value in header.pop("__metadata__", {}).items() if isinstance(value, str)}
        tensors = {name: _tensor(name, entry, content[start:]) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"the file is damaged: its table of tensors cannot be read ({error!r:.200})") from error
    return tensors, metadata


def _tensor(name: str, entry: dict, data: memoryview) -> StoredTensor:
    if entry["dtype"] not in TYPE_NAMES:
        raise UserError(f"tensor '{name}' has the type {entry['dtype']:.20}; known are {', '.join(TYPE_NAMES)}")
    dtype, shape = TYPE_NAMES[entry["dtype"]], checked_shape(entry["shape"])
    begin, end = entry["data_offsets"]
    if type(begin) is not int or type(end) is not int:
        raise TypeError(f"the place of '{name}' is not two whole numbers")
    if not 0 <= begin <= end <= len(data):
        raise UserError(f"the file is cut short: tensor '{name}' ends at byte {end} of {len(data)}")
    tensor = tensor_view(
        data[begin:end], dtype, offset=0, shape=shape, strides=row_major_strides(shape), big_endian=False
    )
    if math.prod(shape) * tensor.bits.itemsize != end - begin:
        raise UserError(f"the file is damaged: tensor '{name}' of shape {shape} has {end - begin} bytes")
    return tensor


def _header_length(content: memoryview) -> int:
    return struct.unpack("<Q", content[:8])[0]


def write_safetensors(path: str | Path, tensors: Mapping[str, StoredTensor], metadata: Mapping[str, str]) -> None:
    """Write the file, whole or not at all. ``metadata`` lies beside the tensors."""
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    place = 0
    for name, tensor in tensors.items():
        if tensor.dtype not in _CODES:
            raise UserError(f"'{name}' is of type {tensor.dtype}, which safetensors does not have")
        end = place + tensor.size * tensor.bits.itemsize
        header[name] = {"dtype": _CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [place, end]}
        place = end
    table = json.dumps(header, separators=(",", ":")).encode("utf-8")
    table += b" " * (-len(table) % _ALIGNMENT)
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        stream.write(struct.pack("<Q", len(table)) + table)
        for tensor in tensors.values():
            if tensor.size:
                stream.write(tensor.content().reshape(-1).data.cast("B"))
