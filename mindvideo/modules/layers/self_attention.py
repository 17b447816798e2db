"""Self-attention with a projection each for queries, keys and values, and optional rotary positions."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.modules.layers.attention import DEFAULT_BLOCK_ELEMENTS, _AttentionCore
from mindvideo.modules.layers.linear import Linear
from mindvideo.modules.layers.rotary import Rotation, turn
from mindvideo.ops.slices import swapped


class SelfAttention(nn.Cell):
    """tokens [B, S, C] -> [B, S, C]; ``rotation``: cosine and sine [S, C / M] of the tokens' positions, or None.

    The S x S weights are computed a block of rows at a time, as in :class:`MultiHeadAttention`.
    """

    def __init__(
        self, *, width: int, heads: int, key_bias: bool = True, block_elements: int = DEFAULT_BLOCK_ELEMENTS
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"the width {width} must be a multiple of the {heads} heads")
        self.heads, self.depth = heads, width // heads
        self.scale = self.depth**-0.5
        self.q_proj = Linear(width, width)
        self.k_proj = Linear(width, width, has_bias=key_bias)
        self.v_proj = Linear(width, width)
        self.out_proj = Linear(width, width)
        self.core = _AttentionCore(dropout=0.0, block_elements=block_elements)

    def construct(self, tokens: ms.Tensor, rotation: Rotation | None = None) -> ms.Tensor:
        B, S, C = tokens.shape
        query = self.split(self.q_proj(tokens) * self.scale)
        key = self.split(self.k_proj(tokens))
        value = self.split(self.v_proj(tokens))
        if rotation is not None:
            cosine, sine = rotation
            query, key = turn(query, cosine, sine), turn(key, cosine, sine)
        attended = self.core(query, key, value, ops.zeros((1, 1, 1, 1), ms.float32))[0]
        return self.out_proj(swapped(attended, 1, 2).reshape(B, S, C))

    def split(self, x: ms.Tensor) -> ms.Tensor:
        """[B, S, C] -> [B, M, S, C / M]."""
        B, S, _ = x.shape
        return swapped(x.reshape(B, S, self.heads, self.depth), 1, 2)
