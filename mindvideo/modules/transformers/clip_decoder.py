"""The clip decoder of Deformable VisTR: a query has a state in each frame, and attends to the whole memory.

A query's states attend to each other, then to all tokens of the frames and to the query's own learned tokens. Those
tokens are all that tells the queries apart: their states of a frame start equal.
"""

from __future__ import annotations

from typing import TypedDict

import mindspore as ms
import numpy as np
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import Normal, initializer

from mindvideo.modules.heads.class_box import ClassBoxHead
from mindvideo.modules.layers.attention import MASKED
from mindvideo.modules.layers.norm import LayerNorm
from mindvideo.modules.transformers.detr import DecoderLayer
from mindvideo.ops.slices import at, swapped


class FrameLevels(TypedDict):
    """How the memory's tokens lie: the levels of each frame, and last the grid of the queries' own tokens, if any."""

    shapes: tuple[tuple[int, int], ...]  # (h, w) of each level
    valid_ratios: ms.Tensor  # [B, L, 2], the part of a level that holds the picture
    tokens_per_query: int


class ClipStates(TypedDict):
    """The answer of a clip decoder for its queries."""

    logits: ms.Tensor  # [D, B, Q, T, K]
    boxes: ms.Tensor  # [D, B, Q, T, 4]
    states: ms.Tensor  # of the last layer, [B, Q, T, C]


@ops.constexpr
def foreign_token_bias(num_queries: int, tokens_per_query: int, num_frames: int, num_frame_tokens: int) -> ms.Tensor:
    """0 where a query may look, a large negative number at the tokens of other queries: [1, 1, Q*T, S]."""
    own = np.repeat(np.eye(num_queries, dtype=bool), tokens_per_query, axis=1)  # [Q, Q * tokens]
    bias = np.zeros((num_queries, num_frames, num_frame_tokens + num_queries * tokens_per_query), np.float32)
    bias[:, :, num_frame_tokens:] = np.where(own, 0.0, MASKED)[:, None]
    return ms.Tensor(bias.reshape(1, 1, num_queries * num_frames, -1))


class ClipDecoderLayer(DecoderLayer):
    """As DETR's layer, but the self-attention stays inside a query: its states of all frames.

    All queries of a clip go through it together.
    """

    def construct(  # type: ignore[override]  # a bias instead of padding
        self, content: ms.Tensor, query_position: ms.Tensor, memory: ms.Tensor, keys: ms.Tensor, bias: ms.Tensor
    ) -> ms.Tensor:
        """content, query_position [B*Q,T,C]; memory, keys [B,S,C]; bias [B or 1,1,Q*T,S] -> content [B*Q,T,C]"""
        batch, width = memory.shape[0], memory.shape[2]
        placed = content + query_position
        content = self.norm1(content, self.dropout1(self.self_attn(placed, placed, content)))
        placed = (content + query_position).reshape(batch, -1, width)
        attended = self.multihead_attn(placed, keys, memory, bias=bias).reshape(content.shape)
        content = self.norm2(content, self.dropout2(attended))
        return self.norm3(content, self.dropout3(self.ffn(content)))


class ClipDecoder(nn.Cell):
    """Layers in a row with a shared norm after each, then the heads.

    memory, position [B, S, C], padding bool [B, S] or None, and how the memory lies -> :class:`ClipStates`.

    ``released_order`` repeats the released code, which reads its states, lying frame after frame, as if they lay query
    after query.
    """

    def __init__(
        self,
        *,
        layers: list[ClipDecoderLayer],
        norm: nn.Cell,
        head: nn.Cell,
        num_queries: int,
        num_frames: int,
        width: int,
        released_order: bool = False,
    ) -> None:
        super().__init__()
        self.query_embed = Parameter(initializer(Normal(1.0), (num_frames, width)), name="query_embed")
        self.layers = nn.CellList(layers)
        self.norm = norm
        self.head = head
        self.num_queries = num_queries
        self.released_order = released_order

    def construct(
        self, memory: ms.Tensor, position: ms.Tensor, padding: ms.Tensor | None, levels: FrameLevels
    ) -> ClipStates:
        states = self.states(memory, position, padding, levels)
        if self.released_order:
            # PARITY(defvistr): the released reshape skips the transposition.
            states = swapped(states, 2, 3).reshape(states.shape)
        logits, boxes = self.head(states)
        return {"logits": logits, "boxes": boxes, "states": at(states, 0, -1)}

    def states(
        self, memory: ms.Tensor, position: ms.Tensor, padding: ms.Tensor | None, levels: FrameLevels
    ) -> ms.Tensor:
        """The normed states of every layer [D, B, Q, T, C]."""
        B, S, C = memory.shape
        Q, T = self.num_queries, self.query_embed.shape[0]
        bias = foreign_token_bias(Q, levels["tokens_per_query"], T, S - Q * levels["tokens_per_query"])
        if padding is not None:
            bias = bias + ops.cast(padding, ms.float32).reshape(B, 1, 1, S) * MASKED
        query_position = ops.broadcast_to(self.query_embed.expand_dims(0), (B * Q, T, C))
        content = ops.zeros_like(query_position)
        keys = memory + position
        states: tuple[ms.Tensor, ...] = ()
        for layer in self.layers:
            content = layer(content, query_position, memory, keys, bias)
            states += (self.norm(content).reshape(B, Q, T, C),)
        return ops.stack(states)


def build_clip_decoder(
    *,
    num_layers: int,
    width: int,
    heads: int,
    hidden: int,
    dropout: float,
    num_logits: int,
    num_queries: int,
    num_frames: int,
    released_order: bool,
) -> ClipDecoder:
    layers = [ClipDecoderLayer(width=width, heads=heads, hidden=hidden, dropout=dropout) for _ in range(num_layers)]
    return ClipDecoder(
        layers=layers,
        norm=LayerNorm(width),
        head=ClassBoxHead(width=width, num_logits=num_logits),
        num_queries=num_queries,
        num_frames=num_frames,
        width=width,
        released_order=released_order,
    )
