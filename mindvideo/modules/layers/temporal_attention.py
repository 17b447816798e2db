"""Attention between the states that one query, or one cell of a map, has in the frames of a clip."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn
from mindspore.common.initializer import XavierUniform

from mindvideo.modules.layers.linear import Linear
from mindvideo.modules.layers.short_attention import ShortAttention


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
        self.qkv = Linear(width, 3 * width, weight_init=XavierUniform(), has_bias=False)
        last = "zeros" if starts_at_zero else XavierUniform()
        self.proj = Linear(width, width, weight_init=last, bias_init="zeros")
        self.attention = ShortAttention(width=width, heads=heads, begins=(0, width, 2 * width))

    def construct(self, states: ms.Tensor, absent: ms.Tensor | None = None) -> ms.Tensor:
        parts = self.qkv(states)
        return self.proj(self.attention(parts, parts, parts, absent))
