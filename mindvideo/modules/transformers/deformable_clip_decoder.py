"""A clip decoder that samples: every query has a reference in every frame and reads a few points around each.

Query (slot, frame) looks into frame f around the place where its slot is believed to be in frame f, so a slot follows
its instance as it moves. References start from a learned table and are refined layer by layer.
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
from mindvideo.modules.layers.norm import LayerNorm
from mindvideo.modules.layers.reference_points import refine

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
        ffn_width: int,
        dropout: float,
        num_frames: int,
    ) -> None:
        super().__init__()
        self.self_attn = self_attention
        self.cross_attn = cross_attention
        own_frame = OWN_FRAME_START * np.eye(num_frames, dtype=np.float32)
        self.frame_bias = Parameter(ms.Tensor(own_frame), name="frame_bias")
        self.linear1 = xavier_dense_with_default_bias(width, ffn_width)
        self.linear2 = xavier_dense_with_default_bias(ffn_width, width)
        self.norm1, self.norm2, self.norm3 = LayerNorm(width), LayerNorm(width), LayerNorm(width)
        self.dropout = Dropout(dropout)

    def logit_bias(self, num_slots: int) -> ms.Tensor:
        """[1, Q*T, 1, levels, 1] from [T, T]: the levels of a frame lie together."""
        T = self.frame_bias.shape[0]
        levels_per_frame = self.cross_attn.num_levels // T
        bias = self.frame_bias.reshape(1, T, T, 1).broadcast_to((num_slots, T, T, levels_per_frame))
        return bias.reshape(1, num_slots * T, 1, T * levels_per_frame, 1)

    def construct(self, content, query_positions, references, value, spatial_shapes, num_slots):
        """content, query_positions [B,Q*T,C]; references [B,Q*T,levels,2 or 4]; value [B,S,M,D] -> [B,Q*T,C]"""
        placed = content + query_positions
        content = self.norm1(self.dropout(self.self_attn(placed, placed, content), 0), content)
        placed = content + query_positions
        locations = self.cross_attn.sampling_locations(placed, references, spatial_shapes)
        seen = self.cross_attn.read(placed, locations, value, spatial_shapes, self.logit_bias(num_slots))
        content = self.norm2(self.dropout(seen, 1), content)
        hidden = self.dropout(ops.relu(self.linear1(content)), 2)
        return self.norm3(self.dropout(self.linear2(hidden), 3), content)


class DeformableClipDecoder(nn.Cell):
    """Queries for Q slots in T frames, layers, and the heads: one class head, one box head a layer."""

    def __init__(
        self,
        *,
        layers: list[DeformableClipDecoderLayer],
        class_head: nn.Cell,
        refinements: nn.CellList,
        num_slots: int,
        num_frames: int,
        width: int,
        reference_start: np.ndarray,
    ) -> None:
        """``refinements``: box heads, one a layer. ``reference_start`` [Q, 2]: where each slot looks first, in 0..1."""
        super().__init__()
        shape = (num_slots * num_frames, width)
        self.query_embed = Parameter(initializer(Normal(1.0), shape), name="query_embed")
        self.content_embed = Parameter(initializer(Normal(1.0), shape), name="content_embed")
        logits = np.log(reference_start / (1 - reference_start)).astype(np.float32)
        table = np.broadcast_to(logits[:, None], (num_slots, num_frames, 2)).copy()
        self.reference_points = Parameter(ms.Tensor(table), name="reference_points")
        self.layers = nn.CellList(layers)
        self.class_embed = class_head
        self.bbox_embed = refinements
        self.num_slots, self.num_frames = num_slots, num_frames

    def in_every_frame(self, reference, valid_ratios):
        """Reference of each slot in each frame [B,Q,T,2 or 4] -> of each query on each level [B,Q*T,levels,2 or 4]"""
        B, Q, T, size = reference.shape
        levels = valid_ratios.shape[1]
        spread = ops.broadcast_to(reference.reshape(B, Q, T, 1, size), (B, Q, T, levels // T, size))
        spread = spread.reshape(B, Q, 1, levels, size)
        ratios = valid_ratios if size == 2 else ops.cat((valid_ratios, valid_ratios), -1)
        spread = spread * ratios.reshape(B, 1, 1, levels, size)
        return ops.broadcast_to(spread, (B, Q, T, levels, size)).reshape(B, Q * T, levels, size)

    def construct(self, memory, positions, padding, frame_levels):
        """memory [B,S,C] (its positions are not needed), padding bool [B,S]; ``frame_levels``: (spatial shapes, valid
        ratios [B,levels,2], tokens per slot), of which the frames' levels are used

        -> class logits [L,B,Q,T,K], boxes [L,B,Q,T,4], last states [B,Q,T,C]
        """
        spatial_shapes, valid_ratios, _ = frame_levels
        Q, T = self.num_slots, self.num_frames
        B, _, C = memory.shape
        levels = self.layers[0].cross_attn.num_levels
        spatial_shapes, valid_ratios = spatial_shapes[:levels], valid_ratios[:, :levels]
        num_tokens = 0
        for height, width in spatial_shapes:
            num_tokens += height * width
        memory = memory[:, :num_tokens]
        padding = None if padding is None else padding[:, :num_tokens]
        query_positions = ops.broadcast_to(self.query_embed.expand_dims(0), (B, Q * T, C))
        content = ops.broadcast_to(self.content_embed.expand_dims(0), (B, Q * T, C))
        reference = ops.broadcast_to(ops.sigmoid(self.reference_points).expand_dims(0), (B, Q, T, 2))
        logits, boxes = (), ()
        for index, layer in enumerate(self.layers):
            value = layer.cross_attn.project(memory, padding)
            references = self.in_every_frame(reference, valid_ratios)
            content = layer(content, query_positions, references, value, spatial_shapes, Q)
            states = content.reshape(B, Q, T, C)
            box = refine(reference, self.bbox_embed[index](states))
            logits += (self.class_embed(states),)
            boxes += (box,)
            reference = ops.stop_gradient(box)
        return ops.stack(logits), ops.stack(boxes), content.reshape(B, Q, T, C)


def build_deformable_clip_decoder(
    *,
    num_layers: int,
    width: int,
    heads: int,
    ffn_width: int,
    dropout: float,
    num_logits: int,
    num_slots: int,
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
            ffn_width=ffn_width,
            dropout=dropout,
            num_frames=num_frames,
        )
        layers.append(layer)
    return DeformableClipDecoder(
        layers=layers,
        class_head=nn.Dense(width, num_logits),
        refinements=box_heads(width=width, num_layers=num_layers),
        num_slots=num_slots,
        num_frames=num_frames,
        width=width,
        reference_start=reference_start,
    )
