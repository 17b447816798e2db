"""How MS-STS VIS runs on a video: windows of frames whose encoder runs layer by layer, frame by frame.

The frames of a window meet in the narrow space of the split attention only; everything else is done for a frame by
itself. So the numbers are those of the whole network, and memory grows with the window and not with the video.
"""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from ml_collections import ConfigDict

from mindvideo.execution.kept_graph import KeptGraph
from mindvideo.execution.shared_graph import SharedGraph
from mindvideo.inference.trackers.windows import WindowTracker
from mindvideo.models.cards.sequence_portions import (
    EachFrame,
    EncodedFrame,
    FrameEncoder,
    PortionedSequence,
    filled_up,
    size_tensor,
)
from mindvideo.models.cards.sequences import sequence_tracker
from mindvideo.models.mssts.network import MSSTS
from mindvideo.modules.encoded_frames import finest_maps, level_shapes
from mindvideo.modules.layers.pixels import NormalizePixels
from mindvideo.modules.transformers.deformable_encoder import token_reference_points
from mindvideo.structures.picture_size import picture_size


class _Enter(nn.Cell):
    """image uint8 [H, W, 3] and its size [1, 2] -> tokens before the encoder and their code, [1, S, C] each."""

    def __init__(self, network: MSSTS, pixels: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network, self.pixels = network, pixels

    def construct(self, image: ms.Tensor, size: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        H, W, _ = image.shape
        entering = self.network.enter(*self.pixels(image.reshape(1, 1, H, W, 3), size))
        return entering["tokens"], entering["code"]


class _EnterSplit(nn.Cell):
    """Tokens and code [1, S, C] -> states of the split attention [1, S, c]."""

    def __init__(self, layer: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.split_attention = layer.split_attention

    def construct(self, tokens: ms.Tensor, code: ms.Tensor) -> ms.Tensor:
        return self.split_attention.enter(tokens, code)


class _MeetFrames(nn.Cell):
    """Absent bool [1, T] and the states [1, S, c] of each frame -> those after they have met, [1, S, T, c]."""

    def __init__(self, layer: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.split_attention = layer.split_attention

    def construct(
        self, absent: ms.Tensor, spatial_shapes: tuple[tuple[int, int], ...], *states: ms.Tensor
    ) -> ms.Tensor:
        together = ops.stack(states, 2)
        padding = ops.zeros(together.shape[:2], ms.bool_)  # none: frames come by themselves
        return self.split_attention.meet(together, spatial_shapes, padding, absent)


class _WithinFrame(nn.Cell):
    """Tokens, code [1, S, C], states of all frames [1, S, T, c] and the number of this one -> tokens [1, S, C]."""

    def __init__(self, layer: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.layer = layer

    def construct(
        self, tokens: ms.Tensor, code: ms.Tensor, state: ms.Tensor, spatial_shapes: tuple[tuple[int, int], ...]
    ) -> ms.Tensor:
        ratios = ops.ones((1, len(spatial_shapes), 2), ms.float32)
        points = token_reference_points(spatial_shapes, ratios)
        from_clip = self.layer.split_attention.leave(state)
        return self.layer.within_frames(tokens, code, points, spatial_shapes, None, from_clip)


class _Features(nn.Cell):
    """Tokens [1, S, C] -> mask features [1, 1, c, h, w]."""

    def __init__(self, network: MSSTS) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, tokens: ms.Tensor, spatial_shapes: tuple[tuple[int, int], ...]) -> ms.Tensor:
        return self.network.mask_features(*finest_maps(tokens, spatial_shapes)).expand_dims(0)


class SplitEncoder:
    """A :class:`~mindvideo.models.cards.sequence_portions.FrameEncoder` of networks with split attention."""

    def __init__(self, *, network: MSSTS, pixels: nn.Cell, window_frames: int) -> None:
        self._network, self._window_frames = network, window_frames
        self._enter, self._features = KeptGraph(_Enter(network, pixels)), KeptGraph(_Features(network))
        layers = list(network.encoder.layers)
        self._enter_split = SharedGraph([_EnterSplit(layer) for layer in layers])
        self._meet = SharedGraph([_MeetFrames(layer) for layer in layers])
        self._within_frame = SharedGraph([_WithinFrame(layer) for layer in layers])
        self._code: tuple[tuple[int, int], ms.Tensor] | None = None  # of the size that was seen last

    def encode(self, image: np.ndarray) -> EncodedFrame:
        """uint8 [H, W, 3]."""
        size = picture_size(image)
        tokens, code = self._enter(ms.Tensor(image), size_tensor(size))
        self._code = size, code
        return EncodedFrame(tokens, None, size)

    def together(self, frames: Sequence[EncodedFrame]) -> Sequence[EncodedFrame]:
        size = frames[0].size
        network, (size_of_code, code) = self._network, self._code or (None, None)
        if size_of_code != size:
            raise ValueError(f"a clip of {size} after a frame of {size_of_code} was encoded")
        shapes = level_shapes(size, strides=network.backbone.strides, num_levels=network.num_levels)
        tokens = [frame.tokens for frame in frames]
        for enter, meet, within_frame in zip(self._enter_split, self._meet, self._within_frame):
            states, absent = filled_up([enter(each, code) for each in tokens], self._window_frames)
            met = meet(absent, shapes, *states)
            tokens = [within_frame(each, code, met[:, :, frame], shapes) for frame, each in enumerate(tokens)]
        return [EncodedFrame(each, self._features(each, shapes), size) for each in tokens]


def build_tracker(cfg: ConfigDict, network: MSSTS) -> WindowTracker:
    pixels, window_frames = NormalizePixels(), cfg.mssts.window_frames
    encoder: FrameEncoder = EachFrame(network=network, pixels=pixels)
    if cfg.mssts.split_attention:
        encoder = SplitEncoder(network=network, pixels=pixels, window_frames=window_frames)
    portioned = PortionedSequence(network=network, encoder=encoder, window_frames=window_frames)
    return sequence_tracker(cfg, "mssts", network=network, portioned=portioned, pixels=pixels)
