"""MS-STS VIS after its paper: SeqFormer whose encoder and box queries see the other frames of the clip."""

from __future__ import annotations

import mindspore as ms
from mindspore import Parameter, nn
from mindspore.common.initializer import Normal, initializer

from mindvideo.modules.clip_queries import decode_clip, masks_of_clip
from mindvideo.modules.encoded_frames import (
    EncodedFrames,
    EnteringFrames,
    class_logits,
    encode_entered,
    enter_frames,
    frame_sizes,
)
from mindvideo.modules.heads.dynamic_mask import DynamicMasks, MaskFeatures
from mindvideo.modules.layers.feature_projection import FeatureProjection
from mindvideo.modules.layers.linear import Linear
from mindvideo.modules.layers.position_encoding import SinePositions2d
from mindvideo.modules.transformers.deformable_encoder import DeformableEncoder
from mindvideo.modules.transformers.two_stream_decoder import ClipDecoding, TwoStreamDecoder
from mindvideo.ops.slices import at


class MSSTS(nn.Cell):
    """Beside its deformable attention, each encoder layer attends over the frames, within a scale and between scales.
    In the decoder an instance's box queries attend to each other over the frames, then each finds the instance in its
    frame, and what they saw is aggregated into the instance query. Its content predicts the class, and the weights of
    one network that draws the masks of all frames.

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
        self.backbone = backbone
        self.projection = projection
        self.position = position
        self.encoder = encoder
        self.decoder = decoder
        self.class_embed = class_heads
        self.controller = controller
        self.mask_features = mask_features
        self.dynamic_masks = dynamic_masks
        self.num_levels = num_levels
        self.query_embed = Parameter(initializer(Normal(1.0), (num_queries, 2 * width)), name="query_embed")
        self.level_embed = Parameter(initializer(Normal(1.0), (num_levels, width)), name="level_embed")
        self.reference_points = Linear(width, 2, weight_init="xavier_uniform", bias_init="zeros")

    def construct(self, frames: ms.Tensor, padding: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        encoded = self.encode(frames, padding)
        decoding = self.decode(encoded)
        content, points = at(decoding["content"], 0, -1), at(decoding["points"], 0, -1)
        masks = self.masks(encoded["mask_features"], content, points, frame_sizes(padding))
        return class_logits(self.class_embed, decoding["content"]).expand_dims(3), decoding["boxes"], masks

    def enter(self, frames: ms.Tensor, padding: ms.Tensor) -> EnteringFrames:
        """The frames up to the encoder, each by itself."""
        return enter_frames(
            frames,
            padding,
            backbone=self.backbone,
            projection=self.projection,
            position=self.position,
            level_embed=self.level_embed,
        )

    def encode(self, frames: ms.Tensor, padding: ms.Tensor) -> EncodedFrames:
        """frames [B, T, 3, H, W], padding bool [B, T, H, W]."""
        B, T = frames.shape[:2]
        return encode_entered(self.enter(frames, padding), B, T, encoder=self.encoder, mask_features=self.mask_features)

    def decode(self, encoded: EncodedFrames) -> ClipDecoding:
        """All decoder layers on the frames of the clips."""
        return decode_clip(
            encoded, query_embed=self.query_embed, reference_points=self.reference_points, decoder=self.decoder
        )

    def masks(self, features: ms.Tensor, content: ms.Tensor, points: ms.Tensor, sizes: ms.Tensor) -> ms.Tensor:
        """As :func:`masks_of_clip`."""
        return masks_of_clip(
            features, content, points, sizes, controller=self.controller, dynamic_masks=self.dynamic_masks
        )
