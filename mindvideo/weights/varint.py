"""Numbers as protocol buffers store them: seven bits a byte, the lowest first, the top bit saying that more follow."""

from __future__ import annotations

from mindvideo.errors import UserError


def write_varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def read_varint(buffer: memoryview, position: int, end: int) -> tuple[int, int]:
    """The number at ``position`` and the position after it."""
    number = shift = 0
    while True:
        if position >= end or shift > 63:
            raise UserError("the file is cut short or damaged: a number in it has no end")
        byte = buffer[position]
        number |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return number, position
