"""The transformer of DETR: every token attends to every token, every query to every query and to all tokens.

Sequences have the batch first: tokens [B, S, C], queries [B, Q, C]. Positions are added to queries and keys, never to
values; ``placed`` is content with its position added. ``pre_norm`` puts the norms before the sub-layers, as DETR's
option of that name does.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import nn, ops
from mindspore.common.initializer import XavierUniform

from mindvideo.modules.layers.attention import DEFAULT_BLOCK_ELEMENTS, MultiHeadAttention
from mindvideo.modules.layers.dropout import Dropout
from mindvideo.modules.layers.linear import Linear
from mindvideo.modules.layers.norm import LayerNorm


class FeedForward(nn.Cell):
    """Two dense layers with ReLU and dropout between them: [..., C] -> [..., C]."""

    def __init__(self, *, width: int, hidden: int, dropout: float):
        super().__init__()
        self.linear1 = Linear(width, hidden, weight_init=XavierUniform())
        self.linear2 = Linear(hidden, width, weight_init=XavierUniform())
        self.dropout = Dropout(dropout)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.linear2(self.dropout(ops.relu(self.linear1(x))))


class EncoderLayer(nn.Cell):
    """Self-attention over the tokens, then the feed-forward part; tokens and position [B,S,C] -> [B,S,C]."""

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        hidden: int,
        dropout: float = 0.1,
        pre_norm: bool = False,
        block_elements: int = DEFAULT_BLOCK_ELEMENTS,
    ):
        super().__init__()
        self.self_attn = MultiHeadAttention(width=width, heads=heads, dropout=dropout, block_elements=block_elements)
        self.ffn = FeedForward(width=width, hidden=hidden, dropout=dropout)
        self.norm1 = LayerNorm(width)
        self.norm2 = LayerNorm(width)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.pre_norm = pre_norm

    def construct(self, tokens: ms.Tensor, position: ms.Tensor, padding: ms.Tensor | None = None) -> ms.Tensor:
        """padding bool [B,S], True = ignore"""
        if self.pre_norm:
            x = self.norm1(tokens)
            placed = x + position
            tokens = tokens + self.dropout1(self.self_attn(placed, placed, x, padding))
            return tokens + self.dropout2(self.ffn(self.norm2(tokens)))
        placed = tokens + position
        attended = self.self_attn(placed, placed, tokens, padding)
        tokens = self.norm1(tokens, self.dropout1(attended))
        return self.norm2(tokens, self.dropout2(self.ffn(tokens)))


class Encoder(nn.Cell):
    """A stack of encoder layers; a last norm exists with ``pre_norm`` only.

    tokens, position [B, S, C], padding bool [B, S] or None -> memory [B, S, C]
    """

    def __init__(self, *, layers: list[EncoderLayer], final_norm: nn.Cell | None = None):
        super().__init__()
        self.layers = nn.CellList(layers)
        self.norm = final_norm

    def construct(self, tokens: ms.Tensor, position: ms.Tensor, padding: ms.Tensor | None = None) -> ms.Tensor:
        return self.collect(self.states(tokens, position, padding))

    def states(self, tokens: ms.Tensor, position: ms.Tensor, padding: ms.Tensor | None = None) -> tuple[ms.Tensor, ...]:
        """The output of each layer; the tokens themselves where there is no layer."""
        states: tuple[ms.Tensor, ...] = ()
        for layer in self.layers:
            tokens = layer(tokens, position, padding)
            states += (tokens,)
        return states if len(states) > 0 else (tokens,)

    def beside(self, position: ms.Tensor, padding: ms.Tensor | None = None) -> tuple[ms.Tensor, ms.Tensor | None]:
        """The inputs that every layer takes besides the tokens."""
        return position, padding

    def collect(self, states: tuple[ms.Tensor, ...]) -> ms.Tensor:
        """The output of the stack, from the outputs of its layers."""
        return states[-1] if self.norm is None else self.norm(states[-1])


class DecoderLayer(nn.Cell):
    """Self-attention of the queries, attention to the memory, feed-forward part."""

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        hidden: int,
        dropout: float = 0.1,
        pre_norm: bool = False,
        block_elements: int = DEFAULT_BLOCK_ELEMENTS,
    ):
        super().__init__()
        self.self_attn = MultiHeadAttention(width=width, heads=heads, dropout=dropout, block_elements=block_elements)
        self.multihead_attn = MultiHeadAttention(
            width=width, heads=heads, dropout=dropout, block_elements=block_elements
        )
        self.ffn = FeedForward(width=width, hidden=hidden, dropout=dropout)
        self.norm1 = LayerNorm(width)
        self.norm2 = LayerNorm(width)
        self.norm3 = LayerNorm(width)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.dropout3 = Dropout(dropout)
        self.pre_norm = pre_norm

    def construct(
        self,
        content: ms.Tensor,
        query_position: ms.Tensor,
        memory: ms.Tensor,
        keys: ms.Tensor,
        padding: ms.Tensor | None = None,
    ) -> ms.Tensor:
        """content, query_position [B,Q,C]; memory and keys = memory + position [B,S,C] -> content [B,Q,C]"""
        if self.pre_norm:
            x = self.norm1(content)
            placed = x + query_position
            content = content + self.dropout1(self.self_attn(placed, placed, x))
            placed = self.norm2(content) + query_position
            content = content + self.dropout2(self.multihead_attn(placed, keys, memory, padding))
            return content + self.dropout3(self.ffn(self.norm3(content)))
        placed = content + query_position
        content = self.norm1(content, self.dropout1(self.self_attn(placed, placed, content)))
        attended = self.multihead_attn(content + query_position, keys, memory, padding)
        content = self.norm2(content, self.dropout2(attended))
        return self.norm3(content, self.dropout3(self.ffn(content)))


class Decoder(nn.Cell):
    """A stack of decoder layers whose every state goes through one shared norm on its way out.

    content, query_position [B, Q, C]; memory, position [B, S, C]; padding bool [B, S] or None -> states [D, B, Q, C]
    """

    def __init__(self, *, layers: list[DecoderLayer], width: int):
        super().__init__()
        self.layers = nn.CellList(layers)
        self.norm = LayerNorm(width)

    def construct(
        self,
        content: ms.Tensor,
        query_position: ms.Tensor,
        memory: ms.Tensor,
        position: ms.Tensor,
        padding: ms.Tensor | None = None,
    ) -> ms.Tensor:
        return self.collect(self.states(content, query_position, memory, position, padding))

    def states(
        self,
        content: ms.Tensor,
        query_position: ms.Tensor,
        memory: ms.Tensor,
        position: ms.Tensor,
        padding: ms.Tensor | None = None,
    ) -> tuple[ms.Tensor, ...]:
        """The output of each layer, before the norm."""
        query_position, memory, keys, padding = self.beside(query_position, memory, position, padding)
        states: tuple[ms.Tensor, ...] = ()
        for layer in self.layers:
            content = layer(content, query_position, memory, keys, padding)
            states += (content,)
        return states

    def beside(
        self, query_position: ms.Tensor, memory: ms.Tensor, position: ms.Tensor, padding: ms.Tensor | None = None
    ) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor, ms.Tensor | None]:
        """The inputs that every layer takes besides the content; the memory's keys are its placed tokens."""
        return query_position, memory, memory + position, padding

    def collect(self, states: tuple[ms.Tensor, ...]) -> ms.Tensor:
        """The output of the stack, from the outputs of its layers."""
        normed = []
        for state in states:
            normed.append(self.norm(state))
        return ops.stack(normed, axis=0)


def build_encoder(*, num_layers: int, width: int, pre_norm: bool = False, **options: Any) -> Encoder:
    """``num_layers`` equal layers; ``options`` go to :class:`EncoderLayer`."""
    layers = [EncoderLayer(width=width, pre_norm=pre_norm, **options) for _ in range(num_layers)]
    return Encoder(layers=layers, final_norm=LayerNorm(width) if pre_norm else None)


def build_decoder(*, num_layers: int, width: int, **options: Any) -> Decoder:
    """``num_layers`` equal layers; ``options`` go to :class:`DecoderLayer`."""
    return Decoder(layers=[DecoderLayer(width=width, **options) for _ in range(num_layers)], width=width)


def align_queries_with_keys(decoder: Decoder) -> None:
    """Start each attention to the memory with query weights equal to the key weights.

    A query whose position code equals a token's then attends to that token from the first step on.
    """
    for layer in decoder.layers:
        weight = layer.multihead_attn.in_proj_weight
        values = weight.asnumpy().copy()
        width = values.shape[1]
        values[:width] = values[width : 2 * width]
        weight.set_data(ms.Tensor(values))
