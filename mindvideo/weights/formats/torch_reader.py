"""Reads the files that PyTorch writes, without PyTorch: the zip format, and the stream format from before 1.6.

The file is mapped into memory and the tensors are views of it, so reading costs next to nothing until values are used,
and the weights are never held twice.
"""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError
from mindvideo.weights.formats.torch_pickle import (
    PendingStorage,
    PendingTensor,
    damage_explained,
    is_storage_key,
    read_pickle,
)

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
ZIP_SIGNATURE = b"PK\x03\x04"
# The stream format starts with a pickle (protocol 2) of the magic number: PROTO 2, LONG1 of ten bytes.
LEGACY_SIGNATURE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
# The zip reader raises these on damaged bytes.
DAMAGED_ZIP_ERRORS = (
    zipfile.BadZipFile,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    UnicodeError,
    OverflowError,
)
MAX_TABLE = 16 << 20  # bytes, for the names of some 200,000 members
MAX_PICKLE = 64 << 20  # bytes; tensors have members of their own
_ZIP_LOCAL_HEADER = struct.Struct("<26xHH")


def map_file(path: Path) -> memoryview:
    """The bytes of the file, read only, loaded by the system page by page as they are used."""
    with open(path, "rb") as stream:
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


def read_torch_zip(content: memoryview) -> Any:
    """The object that ``torch.save`` wrote (since 1.6), its tensors as :class:`StoredTensor`."""
    try:
        archive = zipfile.ZipFile(BufferFile(content, max_read=MAX_TABLE))
    except DAMAGED_ZIP_ERRORS as error:
        raise UserError(
            f"the file is cut short or damaged: the table of contents at its end cannot be read ({error})"
        ) from error
    members = {name.partition("/")[2]: info for name, info in ((i.filename, i) for i in archive.infolist())}
    if "data.pkl" not in members:
        raise UserError("the file is a zip archive, but not one that torch.save wrote: it has no data.pkl")
    if "constants.pkl" in members:
        raise UserError(
            "the file is a TorchScript program, not weights; save model.state_dict() with torch.save instead"
        )
    big_endian = "byteorder" in members and _unpacked(archive, members["byteorder"]).strip() == b"big"
    sizes: dict[str, int] = {}
    pending = read_pickle(io.BytesIO(_unpacked(archive, members["data.pkl"])), storage_sizes=sizes)
    buffers: dict[str, memoryview] = {}

    def buffer_of(key: str) -> memoryview:
        if key not in buffers:
            if f"data/{key}" not in members:
                raise UserError(f"the file is damaged: the storage 'data/{key}' of a tensor is missing")
            buffers[key] = _member_bytes(content, members[f"data/{key}"])
            if len(buffers[key]) < sizes[key]:
                raise UserError(f"the file is cut short: storage {key} has {len(buffers[key])} of {sizes[key]} bytes")
        return buffers[key]

    return _resolve(pending, buffer_of, big_endian)


def read_torch_stream(content: memoryview) -> Any:
    """The object that ``torch.save`` wrote before 1.6: five pickles, then the storages one after the other."""
    stream = BufferFile(content)
    if read_pickle(stream) != LEGACY_MAGIC or read_pickle(stream) != LEGACY_PROTOCOL:
        raise UserError("the file starts like an old PyTorch file, but its version number is unknown")
    system = read_pickle(stream)
    sizes: dict[str, int] = {}
    pending = read_pickle(stream, storage_sizes=sizes)
    keys = read_pickle(stream)
    if not isinstance(system, dict) or not isinstance(keys, list):
        raise UserError("the file is damaged: its list of storages is not where it should be")
    big_endian = not system.get("little_endian", True)
    buffers: dict[str, memoryview] = {}
    position = stream.tell()
    if not all(map(is_storage_key, keys)):
        raise UserError("the file is damaged: its list of storages holds something else than their keys")
    for key in map(str, keys):
        # Each storage is preceded by its number of elements; the pickle has said how many bytes that makes.
        if key not in sizes:
            raise UserError(f"the file is damaged: nothing says what storage {key} holds")
        start, position = position + 8, position + 8 + sizes[key]
        if position > len(content):
            raise UserError(f"the file is cut short: it has {len(content)} bytes, and storage {key} ends at {position}")
        buffers[key] = content[start:position]

    def buffer_of(key: str) -> memoryview:
        if key not in buffers:
            raise UserError(f"the file is damaged: the storage {key} of a tensor is missing")
        return buffers[key]

    return _resolve(pending, buffer_of, big_endian)


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The content of a small member, its check sum verified."""
    _require_stored(info)
    if info.file_size > MAX_PICKLE:
        raise UserError(f"'{info.filename}' in the file has {info.file_size} bytes, far more than any checkpoint's")
    try:
        return archive.read(info)
    except DAMAGED_ZIP_ERRORS as error:
        raise UserError(f"the file is damaged: '{info.filename}' cannot be read ({error})") from error


def _require_stored(info: zipfile.ZipInfo) -> None:
    """PyTorch never compresses; a compressed member could unpack to any size."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise UserError(
            f"'{info.filename}' in the file is compressed, which PyTorch never does; unzip and zip -0 it again"
        )


def _member_bytes(content: memoryview, info: zipfile.ZipInfo) -> memoryview:
    """The bytes of an archive member, a view of the file."""
    _require_stored(info)
    if info.header_offset < 0:
        raise UserError(f"the file is damaged: '{info.filename}' starts before the file does")
    header = content[info.header_offset : info.header_offset + _ZIP_LOCAL_HEADER.size]
    if len(header) < _ZIP_LOCAL_HEADER.size or bytes(header[:4]) != ZIP_SIGNATURE:
        raise UserError(f"the file is damaged: '{info.filename}' does not start where the table of contents says")
    name_length, extra_length = _ZIP_LOCAL_HEADER.unpack(header)
    start = info.header_offset + _ZIP_LOCAL_HEADER.size + name_length + extra_length
    if start + info.file_size > len(content):
        raise UserError(f"the file is cut short: '{info.filename}' reaches beyond its end")
    return content[start : start + info.file_size]


def _resolve(pending: Any, buffer_of: Callable[[str], memoryview], big_endian: bool) -> Any:
    """Replace every pending tensor, in dictionaries, lists and tuples. Containers met twice are walked once."""
    done: dict[int, Any] = {}
    keep_alive: list[Any] = []

    def visit(value: Any) -> Any:
        if isinstance(value, PendingTensor):
            return value.on(buffer_of(value.storage_key), big_endian)
        if isinstance(value, PendingStorage):
            return f"<storage {value.key} of {value.dtype}>"
        if not isinstance(value, (dict, list, tuple)):
            return value
        if id(value) not in done:
            keep_alive.append(value)
            done[id(value)] = None  # a container that holds itself ends here
            if isinstance(value, dict):
                done[id(value)] = {key: visit(item) for key, item in dict.items(value)}
            else:
                done[id(value)] = [visit(item) for item in value]
        return done[id(value)]

    try:
        with damage_explained():
            return visit(pending)
    except RecursionError as error:
        raise UserError("the file nests its data deeper than any checkpoint does; it was not read") from error


class BufferFile(io.RawIOBase):
    """A file object over a buffer, so that the pickle and zip readers work on the mapped file.

    ``max_read``: the zip reader takes its whole table of contents at once, as long as that says it is.
    """

    def __init__(self, content: memoryview, *, max_read: int | None = None) -> None:
        super().__init__()
        self.content = content
        self.max_read = max_read
        self.position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: len(self.content)}[whence]
        if origin + offset < 0:
            raise ValueError("negative seek position")
        self.position = origin + offset
        return self.position

    def read(self, size: int = -1) -> bytes:
        end = len(self.content) if size is None or size < 0 else self.position + size
        taken = self.content[self.position : end]
        if self.max_read is not None and len(taken) > self.max_read:
            raise UserError(f"its list of contents has {len(taken)} bytes, far more than any checkpoint's; damaged")
        self.position += len(taken)
        return bytes(taken)

    def readinto(self, buffer: Any) -> int:
        taken = self.read(len(buffer))
        buffer[: len(taken)] = taken
        return len(taken)

    def readline(self, size: int | None = -1) -> bytes:
        """Up to and including the next newline (the pickle reader asks for the names in a pickle this way)."""
        end = min(len(self.content), self.position + 4096)
        line = bytes(self.content[self.position : end])
        cut = line.find(b"\n")
        line = line if cut < 0 else line[: cut + 1]
        self.position += len(line)
        return line
