"""What the models with queries and dynamic masks share: frames to tokens and mask features, and a query's masks."""

from __future__ import annotations

import mindspore as ms
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import Normal, initializer

from mindvideo.modules.heads.dynamic_mask import DynamicMasks, MaskFeatures
from mindvideo.modules.layers.feature_projection import FeatureProjection
from mindvideo.modules.layers.position_encoding import SinePositions2d
from mindvideo.modules.transformers.deformable_encoder import DeformableEncoder, flatten_levels, valid_ratio
from mindvideo.modules.transformers.memory_decoder import inverse_sigmoid

MASK_LEVELS = 3  # the three finest levels feed the masks


class EncodedFrames(nn.Cell):
    """Base of InstanceFormer and SeqFormer. The encoder sees every frame alone; ``controller`` makes of a query's
    content [..., C] the parameters of its mask network."""

    def __init__(
        self,
        *,
        backbone: nn.Cell,
        projection: FeatureProjection,
        position: SinePositions2d,
        encoder: DeformableEncoder,
        controller: nn.Cell,
        mask_features: MaskFeatures,
        dynamic_masks: DynamicMasks,
        channels: int,
        num_levels: int,
        num_queries: int,
    ) -> None:
        super().__init__()
        self.backbone, self.projection, self.position, self.encoder = backbone, projection, position, encoder
        self.controller, self.mask_head, self.dynamic_masks = controller, mask_features, dynamic_masks
        self.channels, self.num_queries = channels, num_queries
        self.query_embed = Parameter(initializer(Normal(1.0), (num_queries, 2 * channels)), name="query_embed")
        self.level_embed = Parameter(initializer(Normal(1.0), (num_levels, channels)), name="level_embed")

    def query_position(self, B: int) -> ms.Tensor:
        """[B, Q, C], the same in every frame."""
        position = self.query_embed[:, : self.channels].expand_dims(0)
        return position.broadcast_to((B, self.num_queries, self.channels))

    def start_content(self, B: int) -> ms.Tensor:
        """What the queries hold before the decoder, [B, Q, C]."""
        content = self.query_embed[:, self.channels :].expand_dims(0)
        return content.broadcast_to((B, self.num_queries, self.channels))

    def encode(self, frames: ms.Tensor, padding: ms.Tensor):
        """All frames at once; they do not see each other, and the frames of a clip share their valid area.

        Gives ((H_l, W_l), ...), valid ratios [B, L, 2], padding [B, S], tokens [B * T, S, C] and mask features
        [B, T, c, H8, W8].
        """
        B, T, _, H, W = frames.shape
        C = self.channels
        maps = self.backbone(frames.reshape(B * T, 3, H, W))
        features, paddings = self.projection(maps, padding[:, 0])
        spatial_shapes, positions, ratios, flat_paddings = (), (), (), ()
        for level, level_padding in enumerate(paddings):
            h, w = level_padding.shape[-2:]
            spatial_shapes += ((h, w),)
            positions += ((self.position(level_padding).reshape(B, h * w, C) + self.level_embed[level]),)
            ratios += (valid_ratio(level_padding),)
            flat_paddings += (level_padding.reshape(B, h * w),)
        position = per_frame(ops.cat(positions, 1), T)
        flat_padding = ops.cat(flat_paddings, 1)  # [B, S]
        valid_ratios = ops.stack(ratios, 1)  # [B, L, 2]
        tokens = self.encoder(
            flatten_levels(features), position, spatial_shapes, per_frame(valid_ratios, T), per_frame(flat_padding, T)
        )
        mask_features = self.mask_head(*self.finest_maps(tokens, spatial_shapes))
        return spatial_shapes, valid_ratios, flat_padding, tokens, mask_features.reshape(B, T, *mask_features.shape[1:])

    def level_shapes(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """((H_l, W_l), ...) of frames of that size."""
        shapes = [(-(-height // stride), -(-width // stride)) for stride in self.backbone.strides]
        while len(shapes) < self.level_embed.shape[0]:
            shapes.append((-(-shapes[-1][0] // 2), -(-shapes[-1][1] // 2)))
        return tuple(shapes)

    def finest_maps(self, tokens: ms.Tensor, spatial_shapes):
        """The three finest levels of tokens [F, S, C] as maps [F, C, H_l, W_l]."""
        maps, start = (), 0
        for level in range(MASK_LEVELS):
            h, w = spatial_shapes[level]
            part = tokens[:, start : start + h * w]
            maps += (part.transpose(0, 2, 1).reshape(-1, self.channels, h, w),)
            start += h * w
        return maps

    def masks(self, features: ms.Tensor, content: ms.Tensor, reference: ms.Tensor, sizes: ms.Tensor) -> ms.Tensor:
        """features [F, c, H8, W8], content [F, N, C], reference [F, N, 2 or 4], sizes [F, 2] as (h, w): logits

        [F, N, 2 * H8, 2 * W8].
        """
        points = ops.sigmoid(inverse_sigmoid(reference[..., :2]))
        height_width = ops.cast(sizes, ms.float32)
        pixels = points * ops.stack((height_width[:, 1], height_width[:, 0]), -1).expand_dims(1)
        return self.dynamic_masks(features, self.controller(content), pixels)


def frame_sizes(padding: ms.Tensor) -> ms.Tensor:
    """padding bool [B, T, H, W] -> the valid area of each clip's frames as (h, w), float32 [B, 2]."""
    valid = ops.cast(ops.logical_not(padding[:, 0]), ms.float32)
    return ops.stack((valid[:, :, 0].sum(1), valid[:, 0, :].sum(1)), -1)


def per_frame(of_clip: ms.Tensor, T: int) -> ms.Tensor:
    """[B, ...] -> [B * T, ...], each clip's row once for each of its frames."""
    B, rest = of_clip.shape[0], of_clip.shape[1:]
    return of_clip.expand_dims(1).broadcast_to((B, T, *rest)).reshape(B * T, *rest)
