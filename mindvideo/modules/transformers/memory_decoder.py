"""The decoder of one frame: queries that carry their content from frame to frame and may look at earlier frames.

Named values inside a graph are dicts, as in modules/values.py.
"""

from __future__ import annotations

from typing import TypedDict

import mindspore as ms
from mindspore import nn, ops

from mindvideo.modules.heads.query_heads import START_SIZE_LOGIT, box_heads
from mindvideo.modules.layers.attention import MultiHeadAttention
from mindvideo.modules.layers.deform_attention import DeformableAttention, xavier_dense_with_default_bias
from mindvideo.modules.layers.dropout import Dropout
from mindvideo.modules.layers.norm import LayerNorm
from mindvideo.modules.layers.reference_points import refine, scale_reference
from mindvideo.ops.slices import part

DROPOUTS_PER_CALL = 5  # places in one layer that draw a mask; a layer runs once a frame


class Memory(TypedDict):
    """Tokens of earlier frames, as a decoder layer attends to them; S is their number."""

    keys: ms.Tensor  # [B, S, C]
    values: ms.Tensor  # [B, S, C]
    ignored: ms.Tensor | None  # bool [B, S]; None: all tokens count
    any_valid: ms.Tensor | None  # bool []; None: there are valid ones


class FrameDecoding(TypedDict):
    """The queries of one frame after each decoder layer."""

    content: ms.Tensor  # [D, B, Q, C]
    boxes: ms.Tensor  # [D, B, Q, 4], cxcywh in units of the valid area
    points: ms.Tensor  # [D, B, Q, 2], the reference points (x, y) that each layer started from
    locations: ms.Tensor  # [B, Q, M, L, P, 2], the places that the last layer read


class MemoryDecoderLayer(nn.Cell):
    """Self-attention, deformable attention to the frame, attention to memory tokens, feed-forward; a norm after each.

    ``memory_attention`` None: a layer without memory. ``locate_by_position``: the sampling places of the deformable
    attention depend on the query's position code too, not on its content only.
    """

    def __init__(
        self,
        *,
        self_attention: MultiHeadAttention,
        cross_attention: DeformableAttention,
        memory_attention: MultiHeadAttention | None,
        width: int,
        hidden: int,
        dropout: float,
        locate_by_position: bool,
    ) -> None:
        super().__init__()
        self.locate_by_position = locate_by_position
        self.self_attn = self_attention
        self.norm2 = LayerNorm(width)
        self.cross_attn = cross_attention
        self.norm1_box = LayerNorm(width)
        self.has_memory = memory_attention is not None
        if memory_attention is not None:
            self.cross_attn_mem = memory_attention
            self.norm2_mem = LayerNorm(width)
        self.linear1_box = xavier_dense_with_default_bias(width, hidden)
        self.linear2_box = xavier_dense_with_default_bias(hidden, width)
        self.norm3_box = LayerNorm(width)
        self.dropout = Dropout(dropout)

    def construct(
        self,
        content: ms.Tensor,
        query_position: ms.Tensor,
        reference: ms.Tensor,
        value: ms.Tensor,
        spatial_shapes: tuple[tuple[int, int], ...],
        memory: Memory | None,
        draw: int,
    ) -> tuple[ms.Tensor, ms.Tensor]:
        """content, query_position [B, Q, C]; reference [B, Q, L, 2 or 4]; value [B, S, M, C / M]; a memory or None.

        Gives the content [B, Q, C] and the places that were read [B, Q, M, L, P, 2].
        """
        placed = content + query_position
        content = self.norm2(self.dropout(self.self_attn(placed, placed, content), draw), content)
        searching = content + query_position if self.locate_by_position else content
        locations = self.cross_attn.sampling_locations(searching, reference, spatial_shapes)
        seen = self.cross_attn.read(searching, locations, value, spatial_shapes)
        content = self.norm1_box(self.dropout(seen, draw + 1), content)
        if memory is not None:
            content = self.recall(content, query_position, memory, draw + 2)
        hidden = self.dropout(ops.relu(self.linear1_box(content)), draw + 3)
        return self.norm3_box(self.dropout(self.linear2_box(hidden), draw + 4), content), locations

    def recall(self, content: ms.Tensor, query_position: ms.Tensor, memory: Memory, draw: int) -> ms.Tensor:
        """Attention to the tokens of earlier frames; while there is no valid token the content stays as it is."""
        recalled = self.cross_attn_mem(content + query_position, memory["keys"], memory["values"], memory["ignored"])
        updated = self.norm2_mem(self.dropout(recalled, draw), content)
        if memory["any_valid"] is None:
            return updated
        return ops.select(memory["any_valid"].broadcast_to(content.shape), updated, content)


class MemoryDecoder(nn.Cell):
    """All layers on one frame, with the box of each query refined layer by layer.

    ``box_heads`` are the network's own box heads, one a layer: a layer's refined box is its predicted box, and (without
    its gradient) the reference of the next layer.
    """

    def __init__(self, *, layers: list[MemoryDecoderLayer], box_heads: nn.CellList) -> None:
        super().__init__()
        self.layers = nn.CellList(layers)
        self.bbox_embed = box_heads

    def project(self, tokens: ms.Tensor, padding: ms.Tensor | None) -> tuple[ms.Tensor, ...]:
        """Encoder tokens [F, S, C] of any number F of frames -> the values of each layer, [F, S, M, C / M]."""
        values: tuple[ms.Tensor, ...] = ()
        for layer in self.layers:
            values += (layer.cross_attn.project(tokens, padding),)
        return values

    def construct(
        self,
        content: ms.Tensor,
        query_position: ms.Tensor,
        reference: ms.Tensor,
        values: tuple[ms.Tensor, ...],
        spatial_shapes: tuple[tuple[int, int], ...],
        valid_ratios: ms.Tensor,
        memory: Memory | None,
        frame: int,
    ) -> FrameDecoding:
        """One frame: content, query_position [B, Q, C], reference [B, Q, 2 or 4], each layer's values of that frame
        [B, S, M, C / M], valid_ratios [B, L, 2]. ``frame`` tells the draws of dropout apart.
        """
        contents: tuple[ms.Tensor, ...] = ()
        boxes: tuple[ms.Tensor, ...] = ()
        points: tuple[ms.Tensor, ...] = ()
        locations = None
        for index, layer in enumerate(self.layers):
            points += (part(reference, -1, 0, 2),)
            scaled = scale_reference(reference, valid_ratios)
            draw = frame * DROPOUTS_PER_CALL
            content, locations = layer(content, query_position, scaled, values[index], spatial_shapes, memory, draw)
            box = refine(reference, self.bbox_embed[index](content))
            contents += (content,)
            boxes += (box,)
            reference = ops.stop_gradient(box)
        return {
            "content": ops.stack(contents, 0),
            "boxes": ops.stack(boxes, 0),
            "points": ops.stack(points, 0),
            "locations": locations,
        }


def build_memory_decoder(
    *,
    num_layers: int,
    width: int,
    heads: int,
    num_levels: int,
    points: int,
    hidden: int,
    dropout: float,
    locate_by_position: bool,
    has_memory: bool,
    start_size_logit: float = START_SIZE_LOGIT,
) -> MemoryDecoder:
    layers = []
    for _ in range(num_layers):
        layer = MemoryDecoderLayer(
            self_attention=MultiHeadAttention(width=width, heads=heads, dropout=dropout),
            cross_attention=DeformableAttention(width=width, num_levels=num_levels, heads=heads, num_points=points),
            memory_attention=MultiHeadAttention(width=width, heads=heads, dropout=dropout) if has_memory else None,
            width=width,
            hidden=hidden,
            dropout=dropout,
            locate_by_position=locate_by_position,
        )
        layers.append(layer)
    heads_of_boxes = box_heads(width=width, num_layers=num_layers, start_size_logit=start_size_logit)
    return MemoryDecoder(layers=layers, box_heads=heads_of_boxes)
