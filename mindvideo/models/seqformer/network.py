"""SeqFormer: a query holds one instance of the whole clip, and finds it in each frame with a box query of its own."""

from __future__ import annotations

import mindspore as ms
from mindspore import Parameter, nn
from mindspore.common.initializer import Normal, initializer

from mindvideo.modules.clip_queries import decode_clip, masks_of_clip
from mindvideo.modules.encoded_frames import EncodedFrames, class_logits, encode_frames, frame_sizes
from mindvideo.modules.heads.dynamic_mask import DynamicMasks, MaskFeatures
from mindvideo.modules.layers.feature_projection import FeatureProjection
from mindvideo.modules.layers.linear import Linear
from mindvideo.modules.layers.position_encoding import SinePositions2d
from mindvideo.modules.transformers.deformable_encoder import DeformableEncoder
from mindvideo.modules.transformers.two_stream_decoder import ClipDecoding, TwoStreamDecoder
from mindvideo.ops.slices import at


class SeqFormer(nn.Cell):
    """Every frame is encoded by itself. An instance query is decomposed into a box query for each frame, which finds
    the instance there; what the box queries saw is aggregated over the frames into the instance query. Its content
    predicts the class, and the weights of one network that draws the masks of all frames.

    ``construct(frames [B, T, 3, H, W], padding bool [B, T, H, W])`` gives logits [D, B, Q, 1, K], boxes
    [D, B, Q, T, 4], and masks [B, Q, T, 2 h, 2 w] with (h, w) the finest level.
    """

    def __init__(
        self,
        *,
        backbone: nn.Cell,
        projection: FeatureProjection,
        position: SinePositions2d,
        encoder: DeformableEncoder,
        decoder: TwoStreamDecoder,
        class_heads: nn.CellList,
        controller: nn.Cell,
        mask_features: MaskFeatures,
        dynamic_masks: DynamicMasks,
        width: int,
        num_levels: int,
        num_queries: int,
    ) -> None:
        super().__init__()
        self.backbone, self.projection, self.position, self.encoder = backbone, projection, position, encoder
        self.decoder, self.class_embed = decoder, class_heads
        self.controller, self.mask_features, self.dynamic_masks = controller, mask_features, dynamic_masks
        self.num_levels = num_levels
        self.query_embed = Parameter(initializer(Normal(1.0), (num_queries, 2 * width)), name="query_embed")
        self.level_embed = Parameter(initializer(Normal(1.0), (num_levels, width)), name="level_embed")
        self.reference_points = Linear(width, 2, weight_init="xavier_uniform", bias_init="zeros")

    def construct(self, frames: ms.Tensor, padding: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        encoded = self.encode(frames, padding)
        decoding = self.decode(encoded)
        content, points = decoding["content"], decoding["points"]
        logits = class_logits(self.class_embed, content).expand_dims(3)
        masks = self.masks(encoded["mask_features"], at(content, 0, -1), at(points, 0, -1), frame_sizes(padding))
        return logits, decoding["boxes"], masks

    def encode(self, frames: ms.Tensor, padding: ms.Tensor) -> EncodedFrames:
        """frames [B, T, 3, H, W], padding bool [B, T, H, W]."""
        return encode_frames(
            frames,
            padding,
            backbone=self.backbone,
            projection=self.projection,
            position=self.position,
            level_embed=self.level_embed,
            encoder=self.encoder,
            mask_features=self.mask_features,
        )

    def decode(self, encoded: EncodedFrames) -> ClipDecoding:
        """All decoder layers on the frames of the clips."""
        return decode_clip(
            encoded, query_embed=self.query_embed, reference_points=self.reference_points, decoder=self.decoder
        )

    def masks(self, features: ms.Tensor, content: ms.Tensor, points: ms.Tensor, sizes: ms.Tensor) -> ms.Tensor:
        """features [B, T, c, h, w], content [B, N, C], points [B, N, T, 2], sizes [B, 2] as (h, w) -> mask logits

        [B, N, T, 2 h, 2 w].
        """
        return masks_of_clip(
            features, content, points, sizes, controller=self.controller, dynamic_masks=self.dynamic_masks
        )
