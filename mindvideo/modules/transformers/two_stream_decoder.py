"""SeqFormer's decoder: one stream of queries for the instances, a second one for their boxes in each frame.

The box queries look at their frame; what they saw is summed over the frames, weighed by each instance's own choice of
frames, into the instance query. N below is B * T, the frames of all clips, clip by clip.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.modules.heads.query_heads import box_heads
from mindvideo.modules.layers.attention import MultiHeadAttention
from mindvideo.modules.layers.deform_attention import TwoOutputAttention, xavier_dense_with_default_bias
from mindvideo.modules.layers.dropout import Dropout
from mindvideo.modules.layers.norm import LayerNorm
from mindvideo.modules.transformers.memory_decoder import refine, scale_reference


class TwoStreamDecoderLayer(nn.Cell):
    """A layer in four steps, because the second and third see a frame by itself and the others a clip.

    Both streams attend to themselves; the box stream reads its frame, for both; the instance stream takes what was
    read from all frames. A norm after each step, and after the feed-forward block that ends each stream.
    """

    def __init__(
        self,
        *,
        self_attention: MultiHeadAttention,
        box_self_attention: MultiHeadAttention,
        cross_attention: TwoOutputAttention,
        channels: int,
        hidden: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.cross_attn, self.self_attn, self.self_attn_box = cross_attention, self_attention, box_self_attention
        self.norm1, self.norm1_box = LayerNorm(channels), LayerNorm(channels)
        self.norm2, self.norm2_box = LayerNorm(channels), LayerNorm(channels)
        self.linear1 = xavier_dense_with_default_bias(channels, hidden)
        self.linear2 = xavier_dense_with_default_bias(hidden, channels)
        self.norm3 = LayerNorm(channels)
        self.linear1_box = xavier_dense_with_default_bias(channels, hidden)
        self.linear2_box = xavier_dense_with_default_bias(hidden, channels)
        self.norm3_box = LayerNorm(channels)
        self.time_attention_weights = xavier_dense_with_default_bias(channels, 1)
        self.dropout = Dropout(dropout)

    def attend_instances(self, content, query_position):
        """[B, Q, C] -> [B, Q, C]."""
        located = content + query_position
        return self.norm2(self.dropout(self.self_attn(located, located, content), 0), content)

    def attend_boxes(self, box_content, query_position):
        """[N, Q, C] (in the first layer [B, Q, C], the same for all frames) -> the same shape."""
        located = box_content + query_position
        return self.norm2_box(self.dropout(self.self_attn_box(located, located, box_content), 1), box_content)

    def look(self, box_content, query_position, reference, value, spatial_shapes):
        """box_content, query_position [N, Q, C], reference [N, Q, L, 2 or 4], value [N, S, M, D].

        Gives the box content [N, Q, C], what was seen for the instance [N, Q, C] and how much it counts [N, Q, 1], a
        logit.
        """
        # PARITY(seqformer): where to look follows from the box query alone; the instance query has no say.
        searching = box_content + query_position
        locations = self.cross_attn.sampling_locations(searching, reference, spatial_shapes)
        seen, seen_by_box = self.cross_attn.read_both(searching, locations, value, spatial_shapes)
        box_content = self.norm1_box(self.dropout(seen_by_box, 2), box_content)
        hidden = self.dropout(ops.relu(self.linear1_box(box_content)), 3)
        box_content = self.norm3_box(self.dropout(self.linear2_box(hidden), 4), box_content)
        return box_content, seen, self.time_attention_weights(box_content)

    def gather(self, content, seen, frame_logits):
        """content [B, Q, C], seen [B, T, Q, C], frame_logits [B, T, Q, 1] -> content [B, Q, C]."""
        return self.take(content, (ops.softmax(frame_logits, 1) * seen).sum(1))

    def take(self, content, summary):
        """content and what was seen in all frames together, [B, Q, C] each -> content [B, Q, C]."""
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

    def construct(self, content, query_position, reference, tokens, padding, spatial_shapes, valid_ratios):
        """content, query_position [B, Q, C], reference [B, Q, 2], tokens [N, S, C], padding bool [N, S], valid_ratios
        [N, L, 2].

        Gives three tuples with an entry a layer: contents [B, Q, C]; boxes cxcywh in 0..1 [N, Q, 4]; the reference
        each layer started from, [N, Q, 2] in the first, [N, Q, 4] later.
        """
        B, T = content.shape[0], tokens.shape[0] // content.shape[0]
        contents, boxes, references = (), (), ()
        box_content, position = content, query_position
        reference = over_frames(reference, T)
        for index, layer in enumerate(self.layers):
            references += (reference,)
            content = layer.attend_instances(content, query_position)
            box_content = layer.attend_boxes(box_content, position)
            if index == 0:
                box_content, position = over_frames(box_content, T), over_frames(query_position, T)
            scaled = scale_reference(reference, valid_ratios)
            value = layer.cross_attn.project(tokens, padding)
            box_content, seen, logits = layer.look(box_content, position, scaled, value, spatial_shapes)
            content = layer.gather(content, by_clip(seen, B), by_clip(logits, B))
            box = refine(reference, self.bbox_embed[index](box_content))
            contents += (content,)
            boxes += (box,)
            reference = ops.stop_gradient(box)
        return contents, boxes, references


def over_frames(of_clip: ms.Tensor, T: int) -> ms.Tensor:
    """[B, Q, X] -> [B * T, Q, X], each clip's once for each of its frames."""
    B, Q, X = of_clip.shape
    return of_clip.expand_dims(1).broadcast_to((B, T, Q, X)).reshape(B * T, Q, X)


def by_clip(of_frames: ms.Tensor, B: int) -> ms.Tensor:
    """[B * T, Q, X] -> [B, T, Q, X]."""
    return of_frames.reshape(B, -1, *of_frames.shape[1:])


def build_two_stream_decoder(
    *, num_layers: int, channels: int, heads: int, num_levels: int, points: int, hidden: int, dropout: float
) -> TwoStreamDecoder:
    layers = []
    for _ in range(num_layers):
        layer = TwoStreamDecoderLayer(
            self_attention=MultiHeadAttention(width=channels, heads=heads, dropout=dropout),
            box_self_attention=MultiHeadAttention(width=channels, heads=heads, dropout=dropout),
            cross_attention=TwoOutputAttention(
                channels=channels, num_levels=num_levels, num_heads=heads, num_points=points
            ),
            channels=channels,
            hidden=hidden,
            dropout=dropout,
        )
        layers.append(layer)
    return TwoStreamDecoder(layers=layers, box_heads=box_heads(channels=channels, num_layers=num_layers))
