"""Dropout whose mask is a pure function of (seed, layer, iteration, element): the same in every run and resume.

The framework's own dropout keeps a generator inside the kernel that no checkpoint can hold, and draws anew when
a recomputed layer runs a second time. Here the mask is a counter hashed in a few integer operations, so a
resumed run continues with the masks it would have drawn, and a recomputed layer sees the mask of its first pass.
"""

from __future__ import annotations

import zlib

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from mindvideo.ops.elementwise import counter_dropout, is_native_dropout

# Odd multipliers with well spread bits (a Weyl constant and the two of a known two-round integer hash).
_ROW_STRIDE = 0x1E3779B1
_COLUMN_STRIDE = 0x3504F333
_MIX = 0x2C1B3C6D
_REMIX = 0x297A2D39

# Primitives: a mask is drawn at many places of a network, and operators written in Python are slow to compile.
_times, _plus, _minus, _xor, _shifted = ops.Mul(), ops.Add(), ops.Sub(), ops.BitwiseXor(), ops.RightShift()
_below = ops.Less()


@ops.constexpr
def _multiples(count: int, stride: int, axis: int) -> Tensor:
    """stride times 0, 1, ..., wrapped to int32: [count, 1], or [1, count] along axis 1."""
    return Tensor(np.expand_dims(_wrapped(np.arange(count, dtype=np.int64) * stride), 1 - axis))


@ops.constexpr
def _offset_number(salt: int, draw: int) -> int:
    """Sets the draws of a layer apart; wrapped to int32."""
    return int(_wrapped(salt + draw * _COLUMN_STRIDE % 2**31))


@ops.constexpr
def _offset(salt: int, draw: int) -> Tensor:
    """The same as a tensor, []."""
    return Tensor(_offset_number(salt, draw), ms.int32)


def _wrapped(numbers: int | np.ndarray) -> np.ndarray:
    """Whole numbers as int32, as the arithmetic of the graph wraps them."""
    return np.asarray(numbers, np.int64).astype(np.uint32).view(np.int32)


class FollowsIteration(nn.Cell):
    """A layer that depends on how many steps the training has made; 0 until a trainer lets it follow."""

    def __init__(self) -> None:
        super().__init__()
        self.iteration = Tensor(0, ms.int32)

    def follow(self, iteration: Parameter, *, seed: int) -> None:  # noqa: ARG002
        """Read the steps from ``iteration`` (int32 []); ``seed`` sets this layer's draws apart."""
        del self.iteration
        self.iteration = iteration


class CounterHash(FollowsIteration):
    """Hashed counters of a given [rows, columns], uniform over the 32-bit signed integers; others at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = Tensor(15, ms.int32)
        self.stride, self.first, self.second = (Tensor(_wrapped(odd)) for odd in (_ROW_STRIDE, _MIX, _REMIX))
        self.salt = 0

    def follow(self, iteration: Parameter, *, seed: int) -> None:
        super().follow(iteration, seed=seed)
        self.salt = seed & 0x7FFFFFFF

    def bits(self, rows: int, columns: int, draw: int) -> ms.Tensor:
        """int32 [rows, columns]."""
        return self.bits_at(rows, columns, self.iteration, draw)

    def bits_at(self, rows: int, columns: int, iteration: ms.Tensor, draw: int) -> ms.Tensor:
        """The same of a given iteration, int32 []."""
        stream = self.mix(_plus(_times(iteration, self.stride), _offset(self.salt, draw)))
        row = self.mix(_plus(_multiples(rows, _ROW_STRIDE, 0), stream))
        column = self.mix(_minus(_multiples(columns, _COLUMN_STRIDE, 1), stream))
        row, column = ops.broadcast_to(row, (rows, columns)), ops.broadcast_to(column, (rows, columns))
        return self.mix(_xor(row, column))

    def mix(self, bits: ms.Tensor) -> ms.Tensor:
        bits = _times(bits, self.first)
        return _times(_xor(bits, _shifted(bits, self.shift)), self.second)


class _CounterMask(CounterHash):
    """Keep-mask of a given [rows, columns], True with probability 1 - rate."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"a dropout rate lies in [0, 1), got {rate}")
        self.rate = rate
        self.scale = 1.0 / (1.0 - rate)
        # Keep what falls below this one of the 32-bit signed integers.
        self.limit = int((1.0 - rate) * 2**32) - 2**31 if rate else 2**31 - 1
        self.threshold = Tensor(self.limit, ms.int32)

    def masked(self, x: ms.Tensor, draw: int) -> ms.Tensor:
        """x of any shape, float -> multiplied by the scale where it is kept, by 0 elsewhere."""
        return self.masked_at(x, self.iteration, draw)

    def masked_at(self, x: ms.Tensor, iteration: ms.Tensor, draw: int) -> ms.Tensor:
        """The same with the mask of a given iteration, int32 []."""
        columns = x.shape[-1]
        rows = x.reshape(-1, columns)
        if is_native_dropout(x.shape, x.dtype):
            offset = _offset_number(self.salt, draw)
            return counter_dropout(rows, iteration, offset, self.limit, self.scale).reshape(x.shape)
        keep = self.keep_at(rows.shape[0], columns, iteration, draw)
        return x * (ops.cast(keep.reshape(x.shape), x.dtype) * self.scale)

    def keep(self, rows: int, columns: int, draw: int) -> ms.Tensor:
        """Bool [rows, columns]."""
        return self.keep_at(rows, columns, self.iteration, draw)

    def keep_at(self, rows: int, columns: int, iteration: ms.Tensor, draw: int) -> ms.Tensor:
        return _below(self.bits_at(rows, columns, iteration, draw), self.threshold)


class Dropout(_CounterMask):
    """Zeroes elements with probability ``rate``, scales the rest by 1/(1-rate); the identity in evaluation.

    A layer called several times in one step (once per frame, say) passes a different ``draw`` each time.
    Before a trainer has called :func:`seed_dropout`, every call draws the same mask.
    """

    def construct(self, x: ms.Tensor, draw: int = 0) -> ms.Tensor:
        """x of any shape, float -> the same shape and type."""
        if not self.training or self.rate == 0.0:
            return x
        return self.masked(x, draw)


class DropPath(_CounterMask):
    """Stochastic depth: drops whole samples (axis 0) of a residual branch with probability ``rate``."""

    def construct(self, x: ms.Tensor, draw: int = 0) -> ms.Tensor:
        """x [B, ...], float -> the same shape and type."""
        if not self.training or self.rate == 0.0:
            return x
        keep = self.keep(x.shape[0], 1, draw).reshape((x.shape[0],) + (1,) * (x.ndim - 1))
        return x * (ops.cast(keep, x.dtype) * self.scale)


def seed_dropout(network: nn.Cell, iteration: Parameter, *, seed: int) -> int:
    """Let every dropout layer, draw and ramp of ``network`` follow ``iteration``; returns how many there are.

    A layer's stream depends on its name: two layers never share masks and an added layer moves no other. To be
    called before the network is first compiled.
    """
    layers = [(name, cell) for name, cell in network.cells_and_names() if isinstance(cell, FollowsIteration)]
    for name, cell in layers:
        cell.follow(iteration, seed=zlib.crc32(f"{seed}/{name}".encode()))
    return len(layers)
