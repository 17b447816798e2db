"""The packed runs in which Label Studio keeps the pixels of a brush (the RLE of thi.ng/rle-pack).

A stream of bits, the highest first: 32 bits with the number of values, 5 with the bits of a value less one, four times
4 with the bits of a run's length less one. Then blocks: a bit that says whether one value repeats, two that choose one
of the four sizes, the length less one in so many bits, and one value or as many as the length says. A mask is there as
RGBA pixels, row by row, the same 0 or 255 four times.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_VALUE_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)
_CHANNELS = 4


def pack_mask(mask: np.ndarray) -> list[int]:
    """Bytes of a mask [H, W] of bool or of 0 and 1."""
    flat = mask.astype(bool).reshape(-1)
    starts = np.flatnonzero(np.diff(flat, prepend=not flat[0]))
    lengths = np.diff(np.append(starts, flat.size)) * _CHANNELS
    bits = [f"{flat.size * _CHANNELS:032b}{_VALUE_BITS - 1:05b}", *(f"{size - 1:04b}" for size in _LENGTH_BITS)]
    for length, value in zip(lengths.tolist(), flat[starts].tolist()):
        while length:
            part = min(length, 1 << _LENGTH_BITS[-1])
            choice = next(index for index, size in enumerate(_LENGTH_BITS) if part <= 1 << size)
            bits.append(f"1{choice:02b}{part - 1:0{_LENGTH_BITS[choice]}b}{'1' * 8 if value else '0' * 8}")
            length -= part
    stream = "".join(bits)
    stream += "0" * (-len(stream) % 8)
    return list(int(stream, 2).to_bytes(len(stream) // 8, "big"))


def unpack_mask(packed: Any, size: tuple[int, int]) -> np.ndarray:
    """bool [H, W] of packed bytes; ValueError with the reason where they are not those of a mask of this size.

    A pixel belongs to the mask where its last channel, the opacity, is above a half, as Label Studio shows it.
    """
    if not isinstance(packed, list) or any(type(byte) is not int or not 0 <= byte < 256 for byte in packed):
        raise ValueError("its 'rle' is no list of bytes (whole numbers from 0 to 255)")
    expected = size[0] * size[1] * _CHANNELS
    reader = _Bits(bytes(packed))
    total, value_bits = reader.take(32), reader.take(5) + 1
    sizes = [reader.take(4) + 1 for _ in range(4)]
    if total != expected:
        raise ValueError(f"its 'rle' has {total} values; a mask of {size[0]} x {size[1]} pixels has {expected}")
    values = np.zeros(total, np.uint32)
    place = 0
    while place < total:
        repeats = reader.take(1)
        end = place + 1 + reader.take(sizes[reader.take(2)])
        if end > total:
            raise ValueError("its 'rle' has more values than it says at its start; it is damaged")
        if repeats:
            values[place:end] = reader.take(value_bits)
        else:
            values[place:end] = [reader.take(value_bits) for _ in range(end - place)]
        place = end
    opacity = values.reshape(*size, _CHANNELS)[..., -1]
    return opacity > (1 << value_bits) // 2 - 1


class _Bits:
    """Numbers out of a stream of bits, the highest bit first."""

    def __init__(self, data: bytes) -> None:
        self._string = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}" if data else ""
        self._place = 0

    def take(self, count: int) -> int:
        end = self._place + count
        if end > len(self._string):
            raise ValueError("its 'rle' ends in the middle of a run; it is cut short")
        value, self._place = int(self._string[self._place : end], 2), end
        return value
