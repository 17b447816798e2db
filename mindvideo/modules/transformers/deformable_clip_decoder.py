"""A clip decoder that samples: every query has a reference in every frame and reads a few points around each.

A query has a state in each frame. Each state looks into frame f around the place where its query is believed to be in
frame f, so a query follows its instance as it moves. References start from a learned table and are refined layer by
layer.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import Normal, initializer

from mindvideo.modules.heads.query_heads import box_heads
from mindvideo.modules.layers.attention import MultiHeadAttention
from mindvideo.modules.layers.deform_attention import DeformableAttention, xavier_dense_with_default_bias
from mindvideo.modules.layers.dropout import Dropout
from mindvideo.modules.layers.linear import Linear
from mindvideo.modules.layers.norm import LayerNorm
from mindvideo.modules.layers.reference_points import refine
from mindvideo.modules.transformers.clip_decoder import ClipStates, FrameLevels

# Logit by which a query prefers its own frame at the start; learned from there.
OWN_FRAME_START = 2.0


class DeformableClipDecoderLayer(nn.Cell):
    """Self-attention of all queries, deformable attention to all frames, feed-forward block; a norm after each."""

    def __init__(
        self,
        *,
        self_attention: MultiHeadAttention,
        cross_attention: DeformableAttention,
        width: int,
        hidden: int,
        dropout: float,
        num_frames: int,
    ) -> None:
        super().__init__()
        self.self_attn = self_attention
        self.cross_attn = cross_attention
        own_frame = OWN_FRAME_START * np.eye(num_frames, dtype=np.float32)
        self.frame_bias = Parameter(ms.Tensor(own_frame), name="frame_bias")
        self.linear1 = xavier_dense_with_default_bias(width, hidden)
        self.linear2 = xavier_dense_with_default_bias(hidden, width)
        self.norm1, self.norm2, self.norm3 = LayerNorm(width), LayerNorm(width), LayerNorm(width)
        self.dropout = Dropout(dropout)

    def logit_bias(self, num_queries: int) -> ms.Tensor:
        """[1, Q*T, 1, levels, 1] from [T, T]: the levels of a frame lie together."""
        T = self.frame_bias.shape[0]
        levels_per_frame = self.cross_attn.num_levels // T
        bias = self.frame_bias.reshape(1, T, T, 1).broadcast_to((num_queries, T, T, levels_per_frame))
        return bias.reshape(1, num_queries * T, 1, T * levels_per_frame, 1)

    def construct(
        self,
        content: ms.Tensor,
        query_position: ms.Tensor,
        references: ms.Tensor,
        value: ms.Tensor,
        spatial_shapes: tuple[tuple[int, int], ...],
        num_queries: int,
    ) -> ms.Tensor:
        """content, query_position [B,Q*T,C]; references [B,Q*T,levels,2 or 4]; value [B,S,M,D] -> [B,Q*T,C]"""
        placed = content + query_position
        content = self.norm1(self.dropout(self.self_attn(placed, placed, content), 0), content)
        placed = content + query_position
        locations = self.cross_attn.sampling_locations(placed, references, spatial_shapes)
        seen = self.cross_attn.read(placed, locations, value, spatial_shapes, self.logit_bias(num_queries))
        content = self.norm2(self.dropout(seen, 1), content)
        inner = self.dropout(ops.relu(self.linear1(content)), 2)
        return self.norm3(self.dropout(self.linear2(inner), 3), content)


class DeformableClipDecoder(nn.Cell):
    """Q queries with a state in each of T frames, layers, and the heads: one class head, one box head a layer.

    memory [B, S, C] (its position is not needed), padding bool [B, S] or None, and how the memory lies, of which the
    frames' levels are used -> :class:`ClipStates`.
    """

    def __init__(
        self,
        *,
        layers: list[DeformableClipDecoderLayer],
        class_head: nn.Cell,
        refinements: nn.CellList,
        num_queries: int,
        num_frames: int,
        width: int,
        reference_start: np.ndarray,
    ) -> None:
        """``refinements``: box heads, one a layer. ``reference_start`` [Q, 2] in 0..1: where each query looks first."""
        super().__init__()
        shape = (num_queries * num_frames, width)
        self.query_embed = Parameter(initializer(Normal(1.0), shape), name="query_embed")
        self.content_embed = Parameter(initializer(Normal(1.0), shape), name="content_embed")
        logits = np.log(reference_start / (1 - reference_start)).astype(np.float32)
        table = np.broadcast_to(logits[:, None], (num_queries, num_frames, 2)).copy()
        self.reference_points = Parameter(ms.Tensor(table), name="reference_points")
        self.layers = nn.CellList(layers)
        self.class_embed = class_head
        self.bbox_embed = refinements
        self.num_queries, self.num_frames = num_queries, num_frames

    def in_every_frame(self, reference: ms.Tensor, valid_ratios: ms.Tensor) -> ms.Tensor:
        """Reference of each query in each frame [B,Q,T,2 or 4] -> of each state on each level [B,Q*T,levels,2 or 4]"""
        B, Q, T, size = reference.shape
        levels = valid_ratios.shape[1]
        spread = ops.broadcast_to(reference.reshape(B, Q, T, 1, size), (B, Q, T, levels // T, size))
        spread = spread.reshape(B, Q, 1, levels, size)
        ratios = valid_ratios if size == 2 else ops.cat((valid_ratios, valid_ratios), -1)
        spread = spread * ratios.reshape(B, 1, 1, levels, size)
        return ops.broadcast_to(spread, (B, Q, T, levels, size)).reshape(B, Q * T, levels, size)

    def construct(self, memory: ms.Tensor, position: ms.Tensor, padding: ms.Tensor, levels: FrameLevels) -> ClipStates:
        Q, T = self.num_queries, self.num_frames
        B, _, C = memory.shape
        L = self.layers[0].cross_attn.num_levels
        spatial_shapes, valid_ratios = levels["shapes"][:L], levels["valid_ratios"][:, :L]
        num_tokens = 0
        for height, width in spatial_shapes:
            num_tokens += height * width
        memory = memory[:, :num_tokens]
        padding = None if padding is None else padding[:, :num_tokens]
        query_position = ops.broadcast_to(self.query_embed.expand_dims(0), (B, Q * T, C))
        content = ops.broadcast_to(self.content_embed.expand_dims(0), (B, Q * T, C))
        reference = ops.broadcast_to(ops.sigmoid(self.reference_points).expand_dims(0), (B, Q, T, 2))
        logits: tuple[ms.Tensor, ...] = ()
        boxes: tuple[ms.Tensor, ...] = ()
        for index, layer in enumerate(self.layers):
            value = layer.cross_attn.project(memory, padding)
            references = self.in_every_frame(reference, valid_ratios)
            content = layer(content, query_position, references, value, spatial_shapes, Q)
            states = content.reshape(B, Q, T, C)
            box = refine(reference, self.bbox_embed[index](states))
            logits += (self.class_embed(states),)
            boxes += (box,)
            reference = ops.stop_gradient(box)
        return {"logits": ops.stack(logits), "boxes": ops.stack(boxes), "states": content.reshape(B, Q, T, C)}


def build_deformable_clip_decoder(
    *,
    num_layers: int,
    width: int,
    heads: int,
    hidden: int,
    dropout: float,
    num_logits: int,
    num_queries: int,
    num_frames: int,
    levels_per_frame: int,
    points: int,
    reference_start: np.ndarray,
) -> DeformableClipDecoder:
    layers = []
    for _ in range(num_layers):
        cross_attention = DeformableAttention(
            width=width, num_levels=num_frames * levels_per_frame, heads=heads, num_points=points
        )
        layer = DeformableClipDecoderLayer(
            self_attention=MultiHeadAttention(width=width, heads=heads, dropout=dropout),
            cross_attention=cross_attention,
            width=width,
            hidden=hidden,
            dropout=dropout,
            num_frames=num_frames,
        )
        layers.append(layer)
    return DeformableClipDecoder(
        layers=layers,
        class_head=Linear(width, num_logits),
        refinements=box_heads(width=width, num_layers=num_layers),
        num_queries=num_queries,
        num_frames=num_frames,
        width=width,
        reference_start=reference_start,
    )
