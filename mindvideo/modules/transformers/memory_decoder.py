"""The decoder of one frame: queries that carry their content from frame to frame and may look at earlier frames."""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindvideo.modules.heads.query_heads import START_SIZE_LOGIT, box_heads
from mindvideo.modules.layers.attention import MultiHeadAttention
from mindvideo.modules.layers.deform_attention import DeformableAttention, xavier_dense_with_default_bias
from mindvideo.modules.layers.dropout import Dropout
from mindvideo.modules.layers.norm import LayerNorm

DROPOUTS_PER_CALL = 5  # places in one layer that draw a mask; a layer runs once a frame


def inverse_sigmoid(x: ms.Tensor) -> ms.Tensor:
    """Logit of x, with x and 1 - x kept at 1e-5 or more."""
    x = ops.clamp(x, 0.0, 1.0)
    return ops.log(ops.maximum(x, ms.Tensor(1e-5, ms.float32)) / ops.maximum(1.0 - x, ms.Tensor(1e-5, ms.float32)))


class MemoryDecoderLayer(nn.Cell):
    """Self-attention, deformable attention to the frame, attention to memory tokens, feed-forward; a norm after each.

    ``memory_attention`` None: a layer without memory. ``locate_by_position``: the sampling places of the deformable
    attention depend on the query's position code too, not on its content alone.
    """

    def __init__(
        self,
        *,
        self_attention: MultiHeadAttention,
        cross_attention: DeformableAttention,
        memory_attention: MultiHeadAttention | None,
        channels: int,
        hidden: int,
        dropout: float,
        locate_by_position: bool,
    ) -> None:
        super().__init__()
        self.locate_by_position = locate_by_position
        self.self_attn = self_attention
        self.norm2 = LayerNorm(channels)
        self.cross_attn = cross_attention
        self.norm1_box = LayerNorm(channels)
        self.has_memory = memory_attention is not None
        if self.has_memory:
            self.cross_attn_mem = memory_attention
            self.norm2_mem = LayerNorm(channels)
        self.linear1_box = xavier_dense_with_default_bias(channels, hidden)
        self.linear2_box = xavier_dense_with_default_bias(hidden, channels)
        self.norm3_box = LayerNorm(channels)
        self.dropout = Dropout(dropout)

    def construct(self, content, query_position, reference, value, spatial_shapes, memory, draw):
        """content, query_position [B, Q, C]; reference [B, Q, L, 2 or 4]; value [B, S, M, D].

        ``memory`` is None or (keys [B, R, C], values [B, R, C], ignored bool [B, R], any_valid bool []); of the last
        two None: all tokens count.
        Gives the content [B, Q, C] and the places that were read [B, Q, M, L, P, 2].
        """
        located = content + query_position
        content = self.norm2(self.dropout(self.self_attn(located, located, content), draw), content)
        searching = content + query_position if self.locate_by_position else content
        locations = self.cross_attn.sampling_locations(searching, reference, spatial_shapes)
        seen = self.cross_attn.read(searching, locations, value, spatial_shapes)
        content = self.norm1_box(self.dropout(seen, draw + 1), content)
        if memory is not None:
            content = self.recall(content, query_position, memory, draw + 2)
        hidden = self.dropout(ops.relu(self.linear1_box(content)), draw + 3)
        return self.norm3_box(self.dropout(self.linear2_box(hidden), draw + 4), content), locations

    def recall(self, content, query_position, memory, draw):
        """Attention to the tokens of earlier frames; while there is no valid token the content stays as it is."""
        keys, values, ignored, any_valid = memory
        recalled = self.cross_attn_mem(content + query_position, keys, values, ignored)
        updated = self.norm2_mem(self.dropout(recalled, draw), content)
        if any_valid is None:
            return updated
        return ops.select(any_valid.broadcast_to(content.shape), updated, content)


class MemoryDecoder(nn.Cell):
    """All layers on one frame, with the box of each query refined layer by layer.

    ``box_heads`` are the network's own box heads, one a layer: a layer's refined box is its predicted box, and (without
    its gradient) the reference of the next layer.
    """

    def __init__(self, *, layers: list[MemoryDecoderLayer], box_heads: nn.CellList) -> None:
        super().__init__()
        self.layers = nn.CellList(layers)
        self.bbox_embed = box_heads

    def project(self, source: ms.Tensor, padding: ms.Tensor | None):
        """Encoder tokens [F, S, C] of any number of frames -> the values of each layer, [F, S, M, D]."""
        values = ()
        for layer in self.layers:
            values += (layer.cross_attn.project(source, padding),)
        return values

    def construct(self, content, query_position, reference, values, spatial_shapes, valid_ratios, memory, frame):
        """One frame: content, query_position [B, Q, C], reference [B, Q, 2] -> three tuples with an entry a layer, and

        the places [B, Q, M, L, P, 2] that the last layer read. The tuples: contents [B, Q, C]; boxes cxcywh in 0..1
        [B, Q, 4]; the reference each layer started from, [B, Q, 2] in the first, [B, Q, 4] later. ``frame`` tells the
        draws of dropout apart.
        """
        contents, boxes, references = (), (), ()
        locations = None
        for index, layer in enumerate(self.layers):
            references += (reference,)
            scaled = scale_reference(reference, valid_ratios)
            draw = frame * DROPOUTS_PER_CALL
            content, locations = layer(content, query_position, scaled, values[index], spatial_shapes, memory, draw)
            box = refine(reference, self.bbox_embed[index](content))
            contents += (content,)
            boxes += (box,)
            reference = ops.stop_gradient(box)
        return contents, boxes, references, locations


def build_memory_decoder(
    *,
    num_layers: int,
    channels: int,
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
            self_attention=MultiHeadAttention(width=channels, heads=heads, dropout=dropout),
            cross_attention=DeformableAttention(
                channels=channels, num_levels=num_levels, num_heads=heads, num_points=points
            ),
            memory_attention=MultiHeadAttention(width=channels, heads=heads, dropout=dropout) if has_memory else None,
            channels=channels,
            hidden=hidden,
            dropout=dropout,
            locate_by_position=locate_by_position,
        )
        layers.append(layer)
    heads_of_boxes = box_heads(channels=channels, num_layers=num_layers, start_size_logit=start_size_logit)
    return MemoryDecoder(layers=layers, box_heads=heads_of_boxes)


def scale_reference(reference: ms.Tensor, valid_ratios: ms.Tensor) -> ms.Tensor:
    """From the valid area to each padded level: [B, Q, 2 or 4] and [B, L, 2] -> [B, Q, L, 2 or 4]."""
    ratios = valid_ratios
    if reference.shape[-1] == 4:
        ratios = ops.cat((valid_ratios, valid_ratios), -1)
    return reference.expand_dims(2) * ratios.expand_dims(1)


def refine(reference: ms.Tensor, change: ms.Tensor) -> ms.Tensor:
    """The box after adding a change [..., 4] to the logit of a reference; a point [..., 2] has no size to add to."""
    start = inverse_sigmoid(reference)
    if reference.shape[-1] == 2:
        return ops.sigmoid(ops.cat((change[..., :2] + start, change[..., 2:]), -1))
    return ops.sigmoid(change + start)


def slot_codes(*, num_slots: int, span: int, channels: int) -> np.ndarray:
    """Sine code of the slot (place in time, oldest first) of memory tokens: float32 [num_slots, C].

    The image's sine code on a column of ``span`` pixels: the first half of the channels tells the row apart, the second
    half is the code of the only column.
    """
    features = channels // 2
    pairs = np.arange(features // 2, dtype=np.float64)
    frequencies = (10000.0 ** (2 * pairs / features)).astype(np.float32)
    rows = (
        (np.arange(num_slots, dtype=np.float32) + np.float32(0.5)) / np.float32(span + 1e-6) * np.float32(2 * math.pi)
    )
    column = np.full(num_slots, np.float32(0.5) / np.float32(1 + 1e-6) * np.float32(2 * math.pi), np.float32)
    angles = np.stack([rows, column], 1)[..., None] / frequencies  # [slots, 2, features / 2]
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(num_slots, channels).astype(np.float32)
