"""Attention between the states that one query, or one cell of a map, has in the frames of a clip."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops
from mindspore.common.initializer import XavierUniform

from mindvideo.modules.layers.attention import DEFAULT_BLOCK_ELEMENTS, MASKED, _AttentionCore
from mindvideo.modules.layers.linear import Linear
from mindvideo.ops.slices import part, swapped


class TemporalAttention(nn.Cell):
    """states [R, T, C] -> [R, T, C]: each row attends over its T states, without a residual and without a norm.

    One projection without a bias gives query, key and value of all heads. ``absent`` bool [1, T]: states that nobody
    looks at, such as the ones that fill a short clip up. ``starts_at_zero``: the last layer begins with zeros, so that
    a residual branch changes nothing at first.
    """

    def __init__(self, *, width: int, heads: int, starts_at_zero: bool = False) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"the width {width} must be a multiple of the {heads} heads")
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv = Linear(width, 3 * width, weight_init=XavierUniform(), has_bias=False)
        last = "zeros" if starts_at_zero else XavierUniform()
        self.proj = Linear(width, width, weight_init=last, bias_init="zeros")
        self.core = _AttentionCore(dropout=0.0, block_elements=DEFAULT_BLOCK_ELEMENTS)

    def construct(self, states: ms.Tensor, absent: ms.Tensor | None = None) -> ms.Tensor:
        R, T, C = states.shape
        parts = self.qkv(states)
        query = self.split(part(parts, -1, 0, C) * self.scale)
        key, value = self.split(part(parts, -1, C, 2 * C)), self.split(part(parts, -1, 2 * C))
        attended = self.core(query, key, value, bias_of(absent))[0]
        return self.proj(swapped(attended, 1, 2).reshape(R, T, C))

    def split(self, x: ms.Tensor) -> ms.Tensor:
        """[R, T, C] -> [R, M, T, C / M]."""
        R, T, C = x.shape
        return swapped(x.reshape(R, T, self.heads, C // self.heads), 1, 2)


def bias_of(absent: ms.Tensor | None) -> ms.Tensor:
    """bool [1, S] -> what is added to the logits [1, 1, 1, S]; None -> nothing."""
    if absent is None:
        return ops.zeros((1, 1, 1, 1), ms.float32)
    return (ops.cast(absent, ms.float32) * MASKED).reshape(1, 1, 1, -1)
