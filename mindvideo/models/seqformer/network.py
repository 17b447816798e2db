"""SeqFormer: a query holds one instance of the whole clip, and finds it in each frame with a box query of its own."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.modules.encoded_frames import EncodedFrames, frame_sizes, per_frame
from mindvideo.modules.transformers.two_stream_decoder import TwoStreamDecoder


class SeqFormer(EncodedFrames):
    """The network; ``of_frames`` are the arguments of :class:`EncodedFrames`."""

    def __init__(self, *, decoder: TwoStreamDecoder, class_heads: nn.CellList, channels: int, **of_frames) -> None:
        super().__init__(channels=channels, **of_frames)
        self.decoder, self.class_embed = decoder, class_heads
        self.reference_points = nn.Dense(channels, 2, weight_init="xavier_uniform", bias_init="zeros")

    def construct(self, frames: ms.Tensor, padding: ms.Tensor):
        """frames [B, T, 3, H, W], padding bool [B, T, H, W].

        Gives class logits [B, Q, K], boxes [B, T, Q, 4] (cxcywh in units of the valid area) and mask logits
        [B, T, Q, 2 * H8, 2 * W8], H8 = ceil(H / 8).
        """
        B, T = frames.shape[:2]
        contents, boxes, references, features = self.decode(frames, padding)
        content = per_frame(contents[-1], T)
        sizes = per_frame(frame_sizes(padding), T)
        masks = self.masks(features.reshape(B * T, *features.shape[2:]), content, references[-1], sizes)
        boxes = boxes[-1].reshape(B, T, *boxes[-1].shape[1:])
        return self.class_embed[-1](contents[-1]), boxes, masks.reshape(B, T, *masks.shape[1:])

    def decode(self, frames: ms.Tensor, padding: ms.Tensor):
        """What :class:`TwoStreamDecoder` gives, and mask features [B, T, c, H8, W8]."""
        B, T = frames.shape[:2]
        spatial_shapes, ratios, flat_padding, tokens, features = self.encode(frames, padding)
        position = self.query_position(B)
        outputs = self.decoder(
            self.start_content(B),
            position,
            self.first_reference(position),
            tokens,
            per_frame(flat_padding, T),
            spatial_shapes,
            per_frame(ratios, T),
        )
        return (*outputs, features)

    def first_reference(self, query_position: ms.Tensor) -> ms.Tensor:
        """[B, Q, C] -> [B, Q, 2]."""
        return ops.sigmoid(self.reference_points(query_position))
