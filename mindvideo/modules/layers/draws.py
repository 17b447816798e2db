"""Uniform random numbers in the graph, a pure function of (seed, layer, iteration, draw), like the dropout masks."""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, ops

from mindvideo.modules.layers.dropout import CounterHash


class UniformDraws(CounterHash):
    """``construct(rows, columns, draw)`` gives float32 [rows, columns] in [0, 1); another ``draw``, other numbers.

    A trainer sets the stream with :func:`seed_dropout`; before that every iteration draws the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lost_bits = Tensor(8, ms.int32)

    def construct(self, rows: int, columns: int, draw: int = 0) -> ms.Tensor:
        # The upper 24 bits of a hash that is uniform over the signed integers: a float32 holds them exactly.
        upper = ops.bitwise_right_shift(self.bits(rows, columns, draw), self.lost_bits)
        return ops.cast(upper, ms.float32) / 2.0**24 + 0.5
