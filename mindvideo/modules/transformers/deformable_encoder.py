"""The deformable encoder: every token of several feature maps attends to sampled tokens of all of them."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindvideo.modules.layers.deform_attention import DeformableAttention, xavier_dense_with_default_bias
from mindvideo.modules.layers.dropout import Dropout
from mindvideo.modules.layers.norm import LayerNorm
from mindvideo.modules.transformers.split_attention import SplitAttention
from mindvideo.ops.slices import at


@ops.constexpr
def token_centres(spatial_shapes: tuple[tuple[int, int], ...]) -> ms.Tensor:
    """Centre (x, y) of each token in cells of its own level: float32 [S, 2]."""
    centres = []
    for height, width in spatial_shapes:
        rows, columns = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
        centres.append(np.stack([columns.reshape(-1), rows.reshape(-1)], -1))
    return ms.Tensor(np.concatenate(centres).astype(np.float32))


@ops.constexpr
def token_levels(spatial_shapes: tuple[tuple[int, int], ...]) -> ms.Tensor:
    """Level of each token: int32 [S]."""
    areas = [height * width for height, width in spatial_shapes]
    return ms.Tensor(np.repeat(np.arange(len(areas)), areas).astype(np.int32))


@ops.constexpr
def token_level_sizes(spatial_shapes: tuple[tuple[int, int], ...]) -> ms.Tensor:
    """(W, H) of the level of each token: float32 [S, 2]."""
    sizes = np.asarray([(width, height) for height, width in spatial_shapes], np.float32)
    return ms.Tensor(np.repeat(sizes, [height * width for height, width in spatial_shapes], axis=0))


def valid_ratio(padding: ms.Tensor) -> ms.Tensor:
    """Share of a level that is not padding: bool [N, H, W] -> float32 [N, 2] as (w, h)."""
    _, H, W = padding.shape
    valid = 1.0 - ops.cast(padding, ms.float32)
    return ops.stack((ops.sum(at(valid, 1, 0), 1) / W, ops.sum(at(valid, 2, 0), 1) / H), -1)


def token_reference_points(spatial_shapes: tuple[tuple[int, int], ...], valid_ratios: ms.Tensor) -> ms.Tensor:
    """Each token's own place, in units of each level: valid_ratios [N, L, 2] -> [N, S, L, 2]."""
    own_ratio = ops.gather(valid_ratios, token_levels(spatial_shapes), 1)  # [N, S, 2]
    centres = token_centres(spatial_shapes) / (own_ratio * token_level_sizes(spatial_shapes))
    return centres.expand_dims(2) * valid_ratios.expand_dims(1)


def flatten_levels(maps: tuple[ms.Tensor, ...]) -> ms.Tensor:
    """Maps [N, C, H, W], one a level -> tokens [N, S, C], levels in order, row by row."""
    flat = []
    for level in maps:
        N, C, H, W = level.shape
        flat.append(level.reshape(N, C, H * W))
    return ops.cat(flat, 2).transpose(0, 2, 1)


class DeformableEncoderLayer(nn.Cell):
    """Deformable self-attention and a feed-forward block, each with a residual and a norm after it.

    ``split_attention``, or None: what sees the other frames of a clip; what it says is added to the attention's answer.
    """

    def __init__(
        self,
        *,
        attention: DeformableAttention,
        width: int,
        hidden: int,
        dropout: float,
        split_attention: SplitAttention | None = None,
    ) -> None:
        super().__init__()
        self.self_attn = attention
        self.norm1 = LayerNorm(width)
        self.linear1 = xavier_dense_with_default_bias(width, hidden)
        self.linear2 = xavier_dense_with_default_bias(hidden, width)
        self.norm2 = LayerNorm(width)
        self.dropout = Dropout(dropout)
        self.split_attention = split_attention

    def construct(
        self,
        tokens: ms.Tensor,
        position: ms.Tensor,
        reference_points: ms.Tensor,
        spatial_shapes: tuple[tuple[int, int], ...],
        padding: ms.Tensor,
        B: int = 1,
    ) -> ms.Tensor:
        """tokens, position [N, S, C]; reference_points [N, S, L, 2]; padding bool [N, S] -> [N, S, C].

        The N frames are those of B clips, clip by clip.
        """
        if self.split_attention is None:
            return self.within_frames(tokens, position, reference_points, spatial_shapes, padding)
        from_clip = self.split_attention(tokens, position, B, spatial_shapes, padding)
        return self.within_frames(tokens, position, reference_points, spatial_shapes, padding, from_clip)

    def within_frames(
        self,
        tokens: ms.Tensor,
        position: ms.Tensor,
        reference_points: ms.Tensor,
        spatial_shapes: tuple[tuple[int, int], ...],
        padding: ms.Tensor | None,
        from_clip: ms.Tensor | None = None,
    ) -> ms.Tensor:
        """As ``construct``, with what the split attention gave, [N, S, C]."""
        attended = self.self_attn(tokens + position, reference_points, tokens, spatial_shapes, padding)
        if from_clip is not None:
            attended = attended + from_clip
        tokens = self.norm1(self.dropout(attended, 0), tokens)
        hidden = self.dropout(ops.relu(self.linear1(tokens)), 1)
        return self.norm2(self.dropout(self.linear2(hidden), 2), tokens)


class DeformableEncoder(nn.Cell):
    """Layers in a row; as :class:`DeformableEncoderLayer`, with the valid ratios in place of the points."""

    def __init__(self, *, layers: list[DeformableEncoderLayer]) -> None:
        super().__init__()
        self.layers = nn.CellList(layers)

    def construct(
        self,
        tokens: ms.Tensor,
        position: ms.Tensor,
        spatial_shapes: tuple[tuple[int, int], ...],
        valid_ratios: ms.Tensor,
        padding: ms.Tensor,
        B: int = 1,
        first: int = 0,
        last: int | None = None,
    ) -> ms.Tensor:
        """tokens, position [N, S, C]; valid_ratios [N, L, 2]; padding bool [N, S] -> [N, S, C].

        By the layers from ``first`` to before ``last``, which are all of them.
        """
        last = len(self.layers) if last is None else last
        reference_points = token_reference_points(spatial_shapes, valid_ratios)
        for index in range(first, last):
            tokens = self.layers[index](tokens, position, reference_points, spatial_shapes, padding, B)
        return tokens


def build_deformable_encoder(
    *,
    num_layers: int,
    width: int,
    heads: int,
    num_levels: int,
    points: int,
    hidden: int,
    dropout: float,
    attention_type: type[DeformableAttention] = DeformableAttention,
    split_width: int = 0,
) -> DeformableEncoder:
    """``attention_type``: another one with the same call, for published weights that hold more than is used.

    ``split_width``: that of the attention over frames and scales; 0 is none.
    """
    layers = []
    for _ in range(num_layers):
        attention = attention_type(width=width, num_levels=num_levels, heads=heads, num_points=points)
        split = SplitAttention(width=width, inner=split_width, heads=heads, dropout=dropout) if split_width else None
        layers.append(
            DeformableEncoderLayer(
                attention=attention, width=width, hidden=hidden, dropout=dropout, split_attention=split
            )
        )
    return DeformableEncoder(layers=layers)
