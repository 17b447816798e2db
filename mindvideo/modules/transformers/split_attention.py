"""Attention over scales and time, beside the deformable attention of an encoder layer.

Deformable attention looks around in one frame; this looks at one place in all frames of the clip, first in each scale
by itself, then in pairs of scales. It works in a narrow space: one linear layer leads into it and one back.

R below is B * S: every cell of every level of every clip is a row of its own, with T states.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.common.initializer import XavierUniform

from mindvideo.modules.layers.dropout import Dropout
from mindvideo.modules.layers.feed_forward import ReluFeedForward
from mindvideo.modules.layers.linear import Linear
from mindvideo.modules.layers.norm import LayerNorm
from mindvideo.modules.layers.short_attention import ShortAttention
from mindvideo.modules.layers.temporal_attention import TemporalAttention
from mindvideo.ops.slices import part, swapped


@ops.constexpr
def interpolation(length: int, new_length: int) -> ms.Tensor:
    """The matrix [new_length, length] of linear interpolation, centres on centres, edges repeated."""
    places = np.clip((np.arange(new_length) + 0.5) * length / new_length - 0.5, 0, length - 1)
    below = np.minimum(np.floor(places).astype(int), max(0, length - 2))
    matrix = np.zeros((new_length, length), np.float32)
    rows = np.arange(new_length)
    matrix[rows, below] = 1 - (places - below)
    matrix[rows, np.minimum(below + 1, length - 1)] += places - below
    return ms.Tensor(matrix)


def enlarged(cells: ms.Tensor, shape: tuple[int, int], new_shape: tuple[int, int]) -> ms.Tensor:
    """Cells [B, h * w, X] of a map of ``shape`` (h, w) -> bilinearly those of a map of ``new_shape``."""
    B, _, X = cells.shape
    (h, w), (H, W) = shape, new_shape
    wider = ops.matmul(interpolation(w, W), cells.reshape(B * h, w, X))  # [B * h, W, X]
    return ops.matmul(interpolation(h, H), wider.reshape(B, h, W * X)).reshape(B, H * W, X)


class WithinScale(nn.Cell):
    """states [R, T, c] -> [R, T, c]: attention over the frames, a norm, a feed-forward block."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.attention = TemporalAttention(width=width, heads=heads)
        self.norm = LayerNorm(width)
        self.feed_forward = ReluFeedForward(width=width, hidden=width)

    def construct(self, states: ms.Tensor, absent: ms.Tensor | None = None) -> ms.Tensor:
        states = self.norm(self.attention(states, absent), states)
        return states + self.feed_forward(states)


class BetweenScales(nn.Cell):
    """states [R, T, c] and those of a coarser scale at the same places, [R, T, c] -> [R, T, c].

    The states attend to both, over all frames.
    """

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.fine, self.coarse = (Linear(width, width, weight_init=XavierUniform()) for _ in range(2))
        self.norm1, self.norm2 = LayerNorm(width), LayerNorm(width)
        self.query = Linear(width, width, weight_init=XavierUniform(), has_bias=False)
        self.key_value = Linear(width, 2 * width, weight_init=XavierUniform(), has_bias=False)
        self.proj = Linear(width, width, weight_init=XavierUniform(), bias_init="zeros")
        self.attention = ShortAttention(width=width, heads=heads, begins=(0, 0, width))
        self.dropout = Dropout(dropout)
        self.feed_forward = ReluFeedForward(width=width, hidden=width)

    def construct(self, states: ms.Tensor, coarser: ms.Tensor, absent: ms.Tensor | None = None) -> ms.Tensor:
        both = self.norm1(ops.cat((self.fine(states), self.coarse(coarser)), 1))  # [R, 2 T, c]
        states = part(both, 1, 0, states.shape[1])
        absent = None if absent is None else ops.cat((absent, absent), 1)
        pairs = self.key_value(both)  # [R, 2 T, 2 c]
        attended = self.proj(self.attention(self.query(states), pairs, pairs, absent))
        states = states + self.dropout(attended)
        return states + self.feed_forward(self.norm2(states))


class SplitAttention(nn.Cell):
    """Tells an encoder layer's tokens about other frames and scales; zeros before training.

    ``construct(tokens, position [B * T, S, C], B, spatial_shapes, padding bool [B * T, S])`` gives [B * T, S, C]. It is
    three steps, since the first and the last see a frame by itself: ``enter``, ``meet``, ``leave``. All scales have the
    same weights: the position says which scale a token is of.
    """

    def __init__(self, *, width: int, inner: int, heads: int, dropout: float) -> None:
        super().__init__()
        if inner % heads:
            raise ValueError(f"the inner width {inner} must be a multiple of the {heads} heads")
        self.down = Linear(width, inner, weight_init=XavierUniform())
        self.within = WithinScale(width=inner, heads=heads)
        self.between = BetweenScales(width=inner, heads=heads, dropout=dropout)
        self.up = Linear(inner, width, weight_init="zeros", bias_init="zeros")

    def construct(
        self,
        tokens: ms.Tensor,
        position: ms.Tensor,
        B: int,
        spatial_shapes: tuple[tuple[int, int], ...],
        padding: ms.Tensor,
    ) -> ms.Tensor:
        F, S, _ = tokens.shape
        T = F // B
        states = swapped(self.enter(tokens, position).reshape(B, T, S, -1), 1, 2)  # [B, S, T, c]
        states = self.meet(states, spatial_shapes, padding.reshape(B, T, S)[:, 0])
        return self.leave(swapped(states, 1, 2).reshape(F, S, -1))

    def enter(self, tokens: ms.Tensor, position: ms.Tensor) -> ms.Tensor:
        """[F, S, C] -> [F, S, c]."""
        return self.down(tokens + position)

    def meet(
        self,
        states: ms.Tensor,
        spatial_shapes: tuple[tuple[int, int], ...],
        padding: ms.Tensor,
        absent: ms.Tensor | None = None,
    ) -> ms.Tensor:
        """states [B, S, T, c] of all frames, padding bool [B, S] -> [B, S, T, c]; ``absent`` bool [1, T] as in
        TemporalAttention.
        """
        B, S, T, c = states.shape
        within = self.within(states.reshape(B * S, T, c), absent).reshape(B, S, T * c)
        within = within * ops.cast(ops.logical_not(padding), within.dtype).expand_dims(-1)
        coarser = self.coarser(within, states.reshape(B, S, T * c), spatial_shapes)
        rows = within.reshape(B * S, T, c), coarser.reshape(B * S, T, c)
        return self.between(*rows, absent).reshape(B, S, T, c)

    def coarser(self, within: ms.Tensor, entered: ms.Tensor, spatial_shapes: tuple[tuple[int, int], ...]) -> ms.Tensor:
        """[B, S, X] each: for each level's cells the next coarser level's; for the coarsest, what entered there."""
        start = 0
        partners: tuple[ms.Tensor, ...] = ()
        for level, (h, w) in enumerate(spatial_shapes):
            start += h * w
            if level + 1 == len(spatial_shapes):
                partners += (part(entered, 1, start - h * w),)
            else:
                below = spatial_shapes[level + 1]
                partners += (enlarged(part(within, 1, start, start + below[0] * below[1]), below, (h, w)),)
        return ops.cat(partners, 1)

    def leave(self, states: ms.Tensor) -> ms.Tensor:
        """[F, S, c] -> [F, S, C]."""
        return self.up(states)
