"""Multi-scale deformable attention: each query reads a few sampled points of several feature maps."""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.common.initializer import XavierUniform, initializer

from mindvideo.modules.layers.linear import Linear, linear
from mindvideo.ops.ms_deform_attn import ms_deform_attn
from mindvideo.ops.slices import part

BLOCK_SAMPLES = 2**22  # of a call, over all queries; a sample's place and weight take 12 bytes, a few times over


@ops.constexpr
def cells_of_outputs(spatial_shapes: tuple[tuple[int, int], ...], heads: int, num_points: int) -> ms.Tensor:
    """((H, W), ...) -> float32 [M * L * P * 2]: the size of a cell, (1 / W, 1 / H), for every output of the offsets."""
    cells = 1.0 / np.asarray([(width, height) for height, width in spatial_shapes], np.float32)
    shape = (heads, len(spatial_shapes), num_points, 2)
    return ms.Tensor(np.broadcast_to(cells[:, None], shape).reshape(-1))


def directions_of_heads(heads: int, num_levels: int, num_points: int) -> np.ndarray:
    """Offsets at the start of training, [M * L * P * 2]: head m along angle 2 pi m / M, point p at p + 1 cells."""
    angles = np.arange(heads, dtype=np.float32) * (2.0 * math.pi / heads)
    directions = np.stack([np.cos(angles), np.sin(angles)], -1)
    directions = directions / np.abs(directions).max(-1, keepdims=True)  # [M, 2]
    steps = np.arange(1, num_points + 1, dtype=np.float32).reshape(1, 1, num_points, 1)
    offsets = directions.reshape(heads, 1, 1, 2) * steps
    return np.broadcast_to(offsets, (heads, num_levels, num_points, 2)).astype(np.float32).reshape(-1)


def xavier_dense(width_in: int, width_out: int) -> Linear:
    return Linear(width_in, width_out, weight_init=XavierUniform(), bias_init="zeros")


def xavier_dense_with_default_bias(width_in: int, width_out: int) -> Linear:
    """Xavier weights; the bias stays as a linear layer's usually is, uniform within 1 / sqrt(width_in)."""
    return Linear(width_in, width_out, weight_init="xavier_uniform")


@ops.constexpr
def rows_of_block(samples_of_a_query: int, num_queries: int) -> int:
    """How many queries to serve at a time, so that the places and weights of their samples stay small."""
    return num_queries if num_queries * samples_of_a_query <= BLOCK_SAMPLES else BLOCK_SAMPLES // samples_of_a_query


class DeformableAttention(nn.Cell):
    """M heads, L levels, P points a head and level.

    ``construct(query [B, Q, C], reference_points [B, Q, L, 2 or 4], source [B, S, C], spatial_shapes, padding)``
    gives [B, Q, C]. ``spatial_shapes`` is a Python tuple of (H, W), one a level, with S = sum of H * W.
    ``padding`` bool [B, S], True where a token is padding, or None. A query that should know its position has it added
    already; the source has not. With reference points (x, y) an offset counts in cells of its level; with boxes
    (cx, cy, w, h) in halves of the box over P. Many queries are served in blocks (a clip of 72 frames would otherwise
    need gigabytes for the places that its tokens look at); each query's numbers are the same.

    A caller that reads one source several times, or wants to know where, calls the three steps itself: ``project``,
    ``sampling_locations``, ``read``.
    """

    keeps_float32 = True  # half precision stops at native operators

    def __init__(self, *, width: int, num_levels: int, heads: int, num_points: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"the width {width} must be a multiple of the {heads} heads")
        self.heads, self.num_levels, self.num_points = heads, num_levels, num_points
        samples = heads * num_levels * num_points
        directions = directions_of_heads(heads, num_levels, num_points)
        self.sampling_offsets = Linear(
            width, samples * 2, weight_init="zeros", bias_init=initializer(ms.Tensor(directions), directions.shape)
        )
        self.attention_weights = Linear(width, samples, weight_init="zeros", bias_init="zeros")
        self.value_proj = xavier_dense(width, width)
        self.output_proj = xavier_dense(width, width)

    def construct(
        self,
        query: ms.Tensor,
        reference_points: ms.Tensor,
        source: ms.Tensor,
        spatial_shapes: tuple[tuple[int, int], ...],
        padding: ms.Tensor | None = None,
    ) -> ms.Tensor:
        value = self.project(source, padding)
        B, Q, _ = query.shape
        rows = rows_of_block(B * self.heads * self.num_levels * self.num_points, Q)
        if rows == Q:
            locations = self.sampling_locations(query, reference_points, spatial_shapes)
            return self.read(query, locations, value, spatial_shapes)
        outputs: tuple[ms.Tensor, ...] = ()
        for start in range(0, Q, rows):
            block, reference = part(query, 1, start, start + rows), part(reference_points, 1, start, start + rows)
            if outputs:  # one after the other: side by side they would need the memory of all
                block, reference = ops.depend(block, outputs[-1]), ops.depend(reference, outputs[-1])
            locations = self.sampling_locations(block, reference, spatial_shapes)
            outputs += (self.read(block, locations, value, spatial_shapes),)
        return ops.cat(outputs, 1)

    def project(self, source: ms.Tensor, padding: ms.Tensor | None) -> ms.Tensor:
        """[B, S, C] -> values [B, S, M, C / M]; padded tokens become 0, after the projection and its bias."""
        B, S, C = source.shape
        value = self.value_proj(source)
        if padding is not None:
            valid = ops.cast(ops.logical_not(padding), value.dtype).expand_dims(-1)
            value = value * ops.broadcast_to(valid, value.shape)
        return value.reshape(B, S, self.heads, C // self.heads)

    def read(
        self,
        query: ms.Tensor,
        locations: ms.Tensor,
        value: ms.Tensor,
        spatial_shapes: tuple[tuple[int, int], ...],
        bias: ms.Tensor | None = None,
    ) -> ms.Tensor:
        """query [B, Q, C], locations [B, Q, M, L, P, 2], value [B, S, M, C / M] -> [B, Q, C]; bias as below."""
        return self.output_proj(self.sample(query, locations, value, spatial_shapes, bias))

    def sample(
        self,
        query: ms.Tensor,
        locations: ms.Tensor,
        value: ms.Tensor,
        spatial_shapes: tuple[tuple[int, int], ...],
        bias: ms.Tensor | None = None,
    ) -> ms.Tensor:
        """As ``read``, before the last projection."""
        weights = self.sampling_weights(query, bias)
        return ms_deform_attn(value, spatial_shapes, None, locations, weights)

    def sampling_locations(
        self, query: ms.Tensor, reference_points: ms.Tensor, spatial_shapes: tuple[tuple[int, int], ...]
    ) -> ms.Tensor:
        """Where each query looks, in units of each level: [B, Q, M, L, P, 2] as (x, y)."""
        B, Q, _ = query.shape
        M, L, P = self.heads, self.num_levels, self.num_points
        shape = (B, Q, M, L, P, 2)
        # broadcast_to by itself: on CPU an operator that broadcasts keeps four times its result in memory.
        if reference_points.shape[-1] == 2:
            offsets = self.scaled_offsets(query, cells_of_outputs(spatial_shapes, M, P)).reshape(shape)
            return ops.broadcast_to(reference_points.reshape(B, Q, 1, L, 1, 2), shape) + offsets
        offsets = self.sampling_offsets(query).reshape(shape)
        reference = reference_points.reshape(B, Q, 1, L, 1, 4)
        centres = ops.broadcast_to(part(reference, -1, 0, 2), shape)
        sides = ops.broadcast_to(part(reference, -1, 2), shape)
        return centres + offsets / P * sides * 0.5

    def scaled_offsets(self, query: ms.Tensor, scale: ms.Tensor) -> ms.Tensor:
        """The offsets [B, Q, M * L * P * 2], each output times its ``scale``: a product with the weights, not
        with what they make of thousands of queries."""
        dense = self.sampling_offsets
        rows = query.reshape(-1, query.shape[-1])
        offsets = linear(rows, dense.weight * scale.expand_dims(1), dense.bias * scale, dense.half_products)
        return offsets.reshape(*query.shape[:2], -1)

    def sampling_weights(self, query: ms.Tensor, bias: ms.Tensor | None = None) -> ms.Tensor:
        """Softmax over the L * P samples of a head: [B, Q, M, L, P]; ``bias`` (it broadcasts) adds to the logits."""
        B, Q, _ = query.shape
        M, L, P = self.heads, self.num_levels, self.num_points
        logits = self.attention_weights(query)
        if bias is not None:
            logits = logits.reshape(B, Q, M, L, P) + bias
        return ops.softmax(logits.reshape(B, Q, M, L * P), -1).reshape(B, Q, M, L, P)


class TwoOutputAttention(DeformableAttention):
    """Deformable attention whose samples are projected twice, for two streams that look at the same places."""

    def __init__(self, *, width: int, num_levels: int, heads: int, num_points: int) -> None:
        super().__init__(width=width, num_levels=num_levels, heads=heads, num_points=num_points)
        self.output_proj_box = xavier_dense_with_default_bias(width, width)

    def read_both(
        self, query: ms.Tensor, locations: ms.Tensor, value: ms.Tensor, spatial_shapes: tuple[tuple[int, int], ...]
    ) -> tuple[ms.Tensor, ms.Tensor]:
        """As ``read``, for the first stream and for the second: two of [B, Q, C]."""
        samples = self.sample(query, locations, value, spatial_shapes)
        return self.output_proj(samples), self.output_proj_box(samples)
