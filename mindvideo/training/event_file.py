"""TensorBoard event files, scalars only: a few protocol-buffer fields and a checksum, so that no package is needed."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from mindvideo.weights.varint import write_varint

_CASTAGNOLI = 0x82F63B78  # CRC-32C, reflected
_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5  # wire types


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_CASTAGNOLI if byte & 1 else 0)
        table.append(byte)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
    """The checksum as event files store it: rotated and shifted, so that a checksum of checksums stays sound."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _tag(field: int, wire_type: int) -> bytes:
    return write_varint(field << 3 | wire_type)


def _message(field: int, content: bytes) -> bytes:
    return _tag(field, _BYTES) + write_varint(len(content)) + content


def encode_event(*, wall_time: float, step: int, content: bytes) -> bytes:
    """Event{wall_time = 1, step = 2} and one of its contents, already encoded."""
    return _tag(1, _DOUBLE) + struct.pack("<d", wall_time) + _tag(2, _VARINT) + write_varint(step) + content


def encode_scalars(values: Mapping[str, float]) -> bytes:
    """Event.summary = 5 {repeated value = 1 {tag = 1, simple_value = 2}}."""
    summary = b"".join(
        _message(1, _message(1, name.encode()) + _tag(2, _FLOAT) + struct.pack("<f", value))
        for name, value in values.items()
    )
    return _message(5, summary)


VERSION_CONTENT = _message(3, b"brain.Event:2")
SESSION_START = _message(7, _tag(1, _VARINT) + write_varint(1))  # Event.session_log = 7 {status = 1: START}


class EventFile:
    """One ``events.out.tfevents`` file. TensorBoard drops what an earlier file has from ``first_step`` on."""

    def __init__(self, folder: Path, *, first_step: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        # The time in nanoseconds: a run resumed within a second must not share the file of the one before.
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{time.time_ns() % 10**9}"
        self.path = folder / name
        self._stream = open(self.path, "wb")  # noqa: SIM115  closed by close()
        self._write(encode_event(wall_time=now, step=0, content=VERSION_CONTENT))
        self._write(encode_event(wall_time=now, step=first_step, content=SESSION_START))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._write(encode_event(wall_time=time.time(), step=step, content=encode_scalars(values)))

    def _write(self, event: bytes) -> None:
        """length, its checksum, event, its checksum."""
        length = struct.pack("<Q", len(event))
        checksums = struct.pack("<I", masked_crc32c(length)), struct.pack("<I", masked_crc32c(event))
        self._stream.write(length + checksums[0] + event + checksums[1])
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()
