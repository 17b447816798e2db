"""SeqFormer's decoder: one stream of queries for the instances, a second one for their boxes in each frame.

The box queries look at their frame; what they saw is summed over the frames, weighed by each instance's own choice of
frames, into the instance query. F below is B * T, the frames of all clips, clip by clip.

Named values inside a graph are dicts, as in modules/values.py.
"""

from __future__ import annotations

from typing import TypedDict

import mindspore as ms
from mindspore import nn, ops

from mindvideo.modules.encoded_frames import per_frame
from mindvideo.modules.heads.query_heads import box_heads
from mindvideo.modules.layers.attention import MultiHeadAttention
from mindvideo.modules.layers.deform_attention import TwoOutputAttention, xavier_dense_with_default_bias
from mindvideo.modules.layers.dropout import Dropout
from mindvideo.modules.layers.norm import LayerNorm
from mindvideo.modules.layers.reference_points import refine, scale_reference
from mindvideo.modules.layers.temporal_attention import TemporalAttention
from mindvideo.ops.slices import part, swapped


class FrameReading(TypedDict):
    """The box queries after they have read their frames."""

    box_content: ms.Tensor  # [F, Q, C]
    seen: ms.Tensor  # [F, Q, C], for the instance query
    frame_logit: ms.Tensor  # [F, Q, 1]: how much the frame counts for the instance


class ClipDecoding(TypedDict):
    """The queries of a clip after each decoder layer."""

    content: ms.Tensor  # [D, B, Q, C]
    boxes: ms.Tensor  # [D, B, Q, T, 4], cxcywh in units of the valid area
    points: ms.Tensor  # [D, B, Q, T, 2], the reference points (x, y) that each layer started from


class TwoStreamDecoderLayer(nn.Cell):
    """A layer in four steps, because the second and third see a frame by itself and the others a clip.

    Instance queries attend to each other; so do the box queries of each frame; the box queries read their frame, for
    both streams; the instance queries aggregate what was read of all frames. A norm after each step, and after the
    feed-forward block that ends each stream. With ``temporal_attention`` the box queries of an instance attend to each
    other over the frames before they read them.
    """

    def __init__(
        self,
        *,
        self_attention: MultiHeadAttention,
        box_self_attention: MultiHeadAttention,
        cross_attention: TwoOutputAttention,
        width: int,
        hidden: int,
        dropout: float,
        temporal_attention: TemporalAttention | None = None,
    ) -> None:
        super().__init__()
        self.cross_attn, self.self_attn, self.self_attn_box = cross_attention, self_attention, box_self_attention
        self.norm1, self.norm1_box = LayerNorm(width), LayerNorm(width)
        self.norm2, self.norm2_box = LayerNorm(width), LayerNorm(width)
        self.linear1 = xavier_dense_with_default_bias(width, hidden)
        self.linear2 = xavier_dense_with_default_bias(hidden, width)
        self.norm3 = LayerNorm(width)
        self.linear1_box = xavier_dense_with_default_bias(width, hidden)
        self.linear2_box = xavier_dense_with_default_bias(hidden, width)
        self.norm3_box = LayerNorm(width)
        self.time_attention_weights = xavier_dense_with_default_bias(width, 1)
        self.dropout = Dropout(dropout)
        self.temp_attn_box = temporal_attention

    def attend_instances(self, content: ms.Tensor, query_position: ms.Tensor) -> ms.Tensor:
        """[B, Q, C] -> [B, Q, C]."""
        placed = content + query_position
        return self.norm2(self.dropout(self.self_attn(placed, placed, content), 0), content)

    def attend_boxes(self, box_content: ms.Tensor, query_position: ms.Tensor) -> ms.Tensor:
        """[F, Q, C] (in the first layer [B, Q, C], the same for all frames) -> the same shape."""
        placed = box_content + query_position
        return self.norm2_box(self.dropout(self.self_attn_box(placed, placed, box_content), 1), box_content)

    def attend_frames(self, box_content: ms.Tensor, B: int, absent: ms.Tensor | None = None) -> ms.Tensor:
        """[F, Q, C] of B clips -> the same; ``absent`` bool [1, T] as in TemporalAttention."""
        if self.temp_attn_box is None:
            return box_content
        F, Q, C = box_content.shape
        states = swapped(box_content.reshape(B, F // B, Q, C), 1, 2).reshape(B * Q, F // B, C)
        attended = swapped(self.temp_attn_box(states, absent).reshape(B, Q, F // B, C), 1, 2).reshape(F, Q, C)
        return box_content + self.dropout(attended, 8)

    def read_frames(
        self,
        box_content: ms.Tensor,
        query_position: ms.Tensor,
        reference: ms.Tensor,
        value: ms.Tensor,
        spatial_shapes: tuple[tuple[int, int], ...],
    ) -> FrameReading:
        """box_content, query_position [F, Q, C], reference [F, Q, L, 2 or 4], value [F, S, M, C / M]."""
        # PARITY(seqformer): where to look follows from the box query only; the instance query has no say.
        searching = box_content + query_position
        locations = self.cross_attn.sampling_locations(searching, reference, spatial_shapes)
        seen, seen_by_box = self.cross_attn.read_both(searching, locations, value, spatial_shapes)
        box_content = self.norm1_box(self.dropout(seen_by_box, 2), box_content)
        hidden = self.dropout(ops.relu(self.linear1_box(box_content)), 3)
        box_content = self.norm3_box(self.dropout(self.linear2_box(hidden), 4), box_content)
        return {"box_content": box_content, "seen": seen, "frame_logit": self.time_attention_weights(box_content)}

    def aggregate(self, content: ms.Tensor, reading: FrameReading) -> ms.Tensor:
        """content [B, Q, C] and the reading of all its frames, F = B * T -> content [B, Q, C]."""
        B, Q, C = content.shape
        frame_weight = ops.softmax(reading["frame_logit"].reshape(B, -1, Q, 1), 1)
        return self.update_instances(content, ops.sum(frame_weight * reading["seen"].reshape(B, -1, Q, C), 1))

    def update_instances(self, content: ms.Tensor, summary: ms.Tensor) -> ms.Tensor:
        """content and the weighted sum of what was seen in all frames, [B, Q, C] each -> content [B, Q, C]."""
        content = self.norm1(self.dropout(summary, 5), content)
        hidden = self.dropout(ops.relu(self.linear1(content)), 6)
        return self.norm3(self.dropout(self.linear2(hidden), 7), content)


class TwoStreamDecoder(nn.Cell):
    """All layers on whole clips. ``box_heads``, one a layer: a layer's refined box is its predicted box, and (without
    its gradient) the reference of the next layer."""

    def __init__(self, *, layers: list[TwoStreamDecoderLayer], box_heads: nn.CellList) -> None:
        super().__init__()
        self.layers = nn.CellList(layers)
        self.bbox_embed = box_heads

    def construct(
        self,
        content: ms.Tensor,
        query_position: ms.Tensor,
        reference: ms.Tensor,
        tokens: ms.Tensor,
        padding: ms.Tensor | None,
        spatial_shapes: tuple[tuple[int, int], ...],
        valid_ratios: ms.Tensor,
    ) -> ClipDecoding:
        """content, query_position [B, Q, C], reference [B, Q, 2], tokens [F, S, C], padding bool [F, S], valid_ratios
        [F, L, 2].
        """
        B, T = content.shape[0], tokens.shape[0] // content.shape[0]
        contents: tuple[ms.Tensor, ...] = ()
        boxes: tuple[ms.Tensor, ...] = ()
        points: tuple[ms.Tensor, ...] = ()
        box_content, box_position = content, query_position
        reference = per_frame(reference, T)
        for index, layer in enumerate(self.layers):
            points += (part(reference, -1, 0, 2),)
            content = layer.attend_instances(content, query_position)
            box_content = layer.attend_boxes(box_content, box_position)
            if index == 0:
                box_content, box_position = per_frame(box_content, T), per_frame(query_position, T)
            box_content = layer.attend_frames(box_content, B)
            scaled = scale_reference(reference, valid_ratios)
            value = layer.cross_attn.project(tokens, padding)
            reading = layer.read_frames(box_content, box_position, scaled, value, spatial_shapes)
            box_content = reading["box_content"]
            content = layer.aggregate(content, reading)
            box = refine(reference, self.bbox_embed[index](box_content))
            contents += (content,)
            boxes += (box,)
            reference = ops.stop_gradient(box)
        return {"content": ops.stack(contents, 0), "boxes": query_first(boxes, B), "points": query_first(points, B)}


def query_first(of_layers: tuple[ms.Tensor, ...], B: int) -> ms.Tensor:
    """One [B * T, Q, X] a layer -> [D, B, Q, T, X]."""
    stacked = ops.stack(of_layers, 0)
    D, _, Q, X = stacked.shape
    return swapped(stacked.reshape(D, B, -1, Q, X), 2, 3)


def build_two_stream_decoder(
    *,
    num_layers: int,
    width: int,
    heads: int,
    num_levels: int,
    points: int,
    hidden: int,
    dropout: float,
    temporal_attention: bool = False,
) -> TwoStreamDecoder:
    """``temporal_attention``: not in the first layer, where an instance's box queries are still the same."""
    layers = []
    for number in range(num_layers):
        meets = temporal_attention and number > 0
        layer = TwoStreamDecoderLayer(
            self_attention=MultiHeadAttention(width=width, heads=heads, dropout=dropout),
            box_self_attention=MultiHeadAttention(width=width, heads=heads, dropout=dropout),
            cross_attention=TwoOutputAttention(width=width, num_levels=num_levels, heads=heads, num_points=points),
            width=width,
            hidden=hidden,
            dropout=dropout,
            temporal_attention=TemporalAttention(width=width, heads=heads, starts_at_zero=True) if meets else None,
        )
        layers.append(layer)
    return TwoStreamDecoder(layers=layers, box_heads=box_heads(width=width, num_layers=num_layers))
