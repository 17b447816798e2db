"""Writes the zip format of PyTorch, without PyTorch, so that weights can leave as easily as they came."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError
from mindvideo.files import atomic_path
from mindvideo.weights.formats.torch_pickle import STORAGE_CLASSES
from mindvideo.weights.stored_tensor import StoredTensor, from_numpy, row_major_strides

ARCHIVE = "archive"
_STORAGE_OF_TYPE = {dtype: name for name, dtype in STORAGE_CLASSES.items() if name != "UntypedStorage"}
# Unsigned types above 8 bits have no storage class of their own; their values fit the next signed type.
_WIDER_TYPE = {"uint16": "int32", "uint32": "int64"}


def write_torch(path: str | Path, tensors: Mapping[str, StoredTensor], *, others: Mapping[str, Any]) -> None:
    """``torch.save({"model": tensors, **others})``; ``others`` holds numbers, strings and dictionaries of them.

    Tensors are written one after the other: no more than one of them is in memory beside its source.
    """
    writable = {name: storable_in_torch(name, tensor) for name, tensor in tensors.items()}
    pickle = _PickleWriter()
    pickle.value({"model": writable, **others})
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{ARCHIVE}/data.pkl", pickle.finished())
        archive.writestr(f"{ARCHIVE}/byteorder", b"little")
        for key, tensor in enumerate(writable.values()):
            with archive.open(f"{ARCHIVE}/data/{key}", "w", force_zip64=True) as member:
                if tensor.size:
                    member.write(tensor.content().reshape(-1).data.cast("B"))
        archive.writestr(f"{ARCHIVE}/version", b"3\n")


def storable_in_torch(name: str, tensor: StoredTensor) -> StoredTensor:
    """The tensor itself, or as the next wider type where the format lacks its own."""
    if tensor.dtype in _STORAGE_OF_TYPE:
        return tensor
    if tensor.dtype in _WIDER_TYPE:
        return from_numpy(tensor.numpy().astype(_WIDER_TYPE[tensor.dtype]))
    raise UserError(f"'{name}' is of type {tensor.dtype}, which PyTorch's file format has no storage class for")


class _PickleWriter:
    """The few opcodes (protocol 2) that a checkpoint needs.

    The standard pickler cannot be used: to name a PyTorch function it insists on importing it.
    """

    def __init__(self) -> None:
        self.out = io.BytesIO()
        self.out.write(b"\x80\x02")
        self.storages = 0

    def finished(self) -> bytes:
        return self.out.getvalue() + b"."

    def value(self, value: Any) -> None:
        if value is None:
            self.out.write(b"N")
        elif isinstance(value, bool):
            self.out.write(b"\x88" if value else b"\x89")
        elif isinstance(value, int):
            content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            self.out.write(b"\x8a" + bytes([len(content)]) + content)
        elif isinstance(value, float):
            self.out.write(b"G" + struct.pack(">d", value))
        elif isinstance(value, str):
            content = value.encode("utf-8")
            self.out.write(b"X" + struct.pack("<I", len(content)) + content)
        elif isinstance(value, Mapping):
            self.name("collections", "OrderedDict")
            self.out.write(b")R(")
            for key, item in value.items():
                self.value(key)
                self.value(item)
            self.out.write(b"u")
        elif isinstance(value, (list, tuple)):
            self.out.write(b"(" if isinstance(value, tuple) else b"](")
            for item in value:
                self.value(item)
            self.out.write(b"t" if isinstance(value, tuple) else b"e")
        elif isinstance(value, StoredTensor):
            self.tensor(value)
        else:
            raise TypeError(f"a checkpoint holds numbers, strings, lists and dictionaries, not {type(value).__name__}")

    def name(self, module: str, name: str) -> None:
        self.out.write(f"c{module}\n{name}\n".encode())

    def tensor(self, tensor: StoredTensor) -> None:
        """_rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())."""
        self.name("torch._utils", "_rebuild_tensor_v2")
        self.out.write(b"((")
        self.value("storage")
        self.name("torch", _STORAGE_OF_TYPE[tensor.dtype])
        for place in (str(self.storages), "cpu", tensor.size):
            self.value(place)
        self.out.write(b"tQ")  # the storage, by reference to the member of that number
        parts: tuple[Any, ...] = (0, tensor.shape, row_major_strides(tensor.shape), False, {})
        for part in parts:
            self.value(part)
        self.out.write(b"tR")
        self.storages += 1
