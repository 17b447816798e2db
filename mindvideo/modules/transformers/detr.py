"""The transformer of DETR: every token attends to every token, every query to every query and to all tokens.

Sequences have the batch first: tokens [B, S, C], queries [B, Q, C]. Positions are added to queries and keys, never to
values. ``pre_norm`` moves the norms in front of the sub-layers, as in DETR's option of that name.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops
from mindspore.common.initializer import XavierUniform

from mindvideo.modules.layers.attention import DEFAULT_BLOCK_ELEMENTS, MultiHeadAttention
from mindvideo.modules.layers.dropout import Dropout
from mindvideo.modules.layers.norm import LayerNorm


class FeedForward(nn.Cell):
    """Two dense layers with ReLU and dropout between them: [..., C] -> [..., C]."""

    def __init__(self, *, width: int, hidden_width: int, dropout: float):
        super().__init__()
        self.linear1 = nn.Dense(width, hidden_width, weight_init=XavierUniform())
        self.linear2 = nn.Dense(hidden_width, width, weight_init=XavierUniform())
        self.dropout = Dropout(dropout)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.linear2(self.dropout(ops.relu(self.linear1(x))))


class EncoderLayer(nn.Cell):
    """Self-attention over the tokens, then the feed-forward part; tokens and positions [B,S,C] -> [B,S,C]."""

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        ffn_width: int,
        dropout: float = 0.1,
        pre_norm: bool = False,
        block_elements: int = DEFAULT_BLOCK_ELEMENTS,
    ):
        super().__init__()
        self.self_attn = MultiHeadAttention(width=width, heads=heads, dropout=dropout, block_elements=block_elements)
        self.ffn = FeedForward(width=width, hidden_width=ffn_width, dropout=dropout)
        self.norm1 = LayerNorm(width)
        self.norm2 = LayerNorm(width)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.pre_norm = pre_norm

    def construct(self, tokens, positions, padding=None):
        """padding bool [B,S], True = ignore"""
        if self.pre_norm:
            x = self.norm1(tokens)
            with_positions = x + positions
            tokens = tokens + self.dropout1(self.self_attn(with_positions, with_positions, x, padding))
            return tokens + self.dropout2(self.ffn(self.norm2(tokens)))
        with_positions = tokens + positions
        attended = self.self_attn(with_positions, with_positions, tokens, padding)
        tokens = self.norm1(tokens, self.dropout1(attended))
        return self.norm2(tokens, self.dropout2(self.ffn(tokens)))


class Encoder(nn.Cell):
    """A stack of encoder layers; a last norm exists with ``pre_norm`` alone."""

    def __init__(self, *, layers: list[EncoderLayer], final_norm: nn.Cell | None = None):
        super().__init__()
        self.layers = nn.CellList(layers)
        self.norm = final_norm

    def construct(self, tokens, positions, padding=None):
        """tokens, positions [B,S,C], padding bool [B,S] -> memory [B,S,C]"""
        for layer in self.layers:
            tokens = layer(tokens, positions, padding)
        if self.norm is not None:
            tokens = self.norm(tokens)
        return tokens


class DecoderLayer(nn.Cell):
    """Self-attention of the queries, attention to the memory, feed-forward part."""

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        ffn_width: int,
        dropout: float = 0.1,
        pre_norm: bool = False,
        block_elements: int = DEFAULT_BLOCK_ELEMENTS,
    ):
        super().__init__()
        self.self_attn = MultiHeadAttention(width=width, heads=heads, dropout=dropout, block_elements=block_elements)
        self.multihead_attn = MultiHeadAttention(
            width=width, heads=heads, dropout=dropout, block_elements=block_elements
        )
        self.ffn = FeedForward(width=width, hidden_width=ffn_width, dropout=dropout)
        self.norm1 = LayerNorm(width)
        self.norm2 = LayerNorm(width)
        self.norm3 = LayerNorm(width)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.dropout3 = Dropout(dropout)
        self.pre_norm = pre_norm

    def construct(self, content, query_positions, memory, keys, padding=None):
        """content, query_positions [B,Q,C]; memory and keys = memory + positions [B,S,C] -> content [B,Q,C]"""
        if self.pre_norm:
            x = self.norm1(content)
            placed = x + query_positions
            content = content + self.dropout1(self.self_attn(placed, placed, x))
            placed = self.norm2(content) + query_positions
            content = content + self.dropout2(self.multihead_attn(placed, keys, memory, padding))
            return content + self.dropout3(self.ffn(self.norm3(content)))
        placed = content + query_positions
        content = self.norm1(content, self.dropout1(self.self_attn(placed, placed, content)))
        attended = self.multihead_attn(content + query_positions, keys, memory, padding)
        content = self.norm2(content, self.dropout2(attended))
        return self.norm3(content, self.dropout3(self.ffn(content)))


class Decoder(nn.Cell):
    """A stack of decoder layers whose every output goes through one shared norm on its way out."""

    def __init__(self, *, layers: list[DecoderLayer], width: int):
        super().__init__()
        self.layers = nn.CellList(layers)
        self.norm = LayerNorm(width)

    def construct(self, content, query_positions, memory, positions, padding=None):
        """content, query_positions [B,Q,C]; memory, positions [B,S,C]; padding bool [B,S] -> [L,B,Q,C]"""
        keys = memory + positions
        outputs = []
        for layer in self.layers:
            content = layer(content, query_positions, memory, keys, padding)
            outputs.append(self.norm(content))
        return ops.stack(outputs, axis=0)


def build_encoder(*, num_layers: int, width: int, pre_norm: bool = False, **options) -> Encoder:
    """``num_layers`` equal layers; ``options`` go to :class:`EncoderLayer`."""
    layers = [EncoderLayer(width=width, pre_norm=pre_norm, **options) for _ in range(num_layers)]
    return Encoder(layers=layers, final_norm=LayerNorm(width) if pre_norm else None)


def build_decoder(*, num_layers: int, width: int, **options) -> Decoder:
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
