"""How SeqFormer runs on a video: a clip of any length frame by frame, without a graph of its own for each length.

Frames are encoded one at a time. The decoder looks at one frame at a time too; between the frames it needs the softmax
of one number a frame, and what was seen, summed with it. So the numbers are those of the whole network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindvideo.execution.shared_graph import SharedGraph
from mindvideo.models.seqformer.network import SeqFormer
from mindvideo.modules.encoded_frames import level_shapes, starting_queries
from mindvideo.modules.layers.reference_points import refine, scale_reference


@dataclasses.dataclass(frozen=True)
class EncodedFrame:
    """``tokens`` [1, S, C], mask ``features`` [1, 1, c, h, w] and the ``size`` (H, W) of the frame."""

    tokens: ms.Tensor
    features: ms.Tensor
    size: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class DecodedClip:
    """Class ``logits`` [Q, K]; ``features`` [Q, C], the queries' last states; ``masks(queries)`` makes the mask logits
    of some queries, [N, T, h, w].
    """

    logits: np.ndarray
    features: np.ndarray
    masks: Callable[[Sequence[int]], np.ndarray]


class FrameInLayer(NamedTuple):
    """A frame after a decoder layer."""

    box_content: ms.Tensor  # [1, Q, C]
    seen: ms.Tensor  # [1, Q, C]
    frame_logit: ms.Tensor  # [1, Q, 1], how much the frame counts
    box: ms.Tensor  # [1, Q, 4]


class _Encode(nn.Cell):
    """image uint8 [H, W, 3] and its size [1, 2] -> tokens [1, S, C], mask features [1, 1, c, h, w]."""

    def __init__(self, network: SeqFormer, pixels: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network, self.pixels = network, pixels

    def construct(self, image, size):
        H, W, _ = image.shape
        frames, padding = self.pixels(image.reshape(1, 1, H, W, 3), size)
        encoded = self.network.encode(frames, padding)
        return encoded["tokens"], encoded["mask_features"]


class _OnFrame(nn.Cell):
    """A decoder layer and its box head on one frame.

    Box content [1, Q, C], query position, reference [1, Q, 2 or 4], tokens [1, S, C] -> FrameInLayer.
    """

    def __init__(self, layer: nn.Cell, box_head: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.layer, self.box_head = layer, box_head

    def construct(self, box_content, query_position, reference, tokens, spatial_shapes):
        ratios = ops.ones((1, len(spatial_shapes), 2), ms.float32)  # no padding: frames come by themselves
        box_content = self.layer.attend_boxes(box_content, query_position)
        value = self.layer.cross_attn.project(tokens, None)
        scaled = scale_reference(reference, ratios)
        reading = self.layer.read_frames(box_content, query_position, scaled, value, spatial_shapes)
        box_content = reading["box_content"]
        return box_content, reading["seen"], reading["frame_logit"], refine(reference, self.box_head(box_content))


class _OnInstances(nn.Cell):
    """Content [1, Q, C], query position, what was seen in all frames [1, Q, C] -> content [1, Q, C]."""

    def __init__(self, layer: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.layer = layer

    def construct(self, content, query_position, summary):
        return self.layer.update_instances(self.layer.attend_instances(content, query_position), summary)


class _Masks(nn.Cell):
    """features [1, 1, c, h, w], content [1, N, C], reference [1, N, 2 or 4], size [1, 2] -> logits [N, 2 h, 2 w]."""

    def __init__(self, network: SeqFormer) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, features, content, reference, size):
        return self.network.masks(features, content, reference[..., :2].expand_dims(2), size)[0, :, 0]


class PortionedSeqFormer:
    """``encode`` each frame, then call with all of them."""

    def __init__(self, *, network: SeqFormer, pixels: nn.Cell) -> None:
        network.set_train(False)
        self._network = network
        layers = list(network.decoder.layers)
        self._on_frame = SharedGraph([_OnFrame(*pair) for pair in zip(layers, network.decoder.bbox_embed)])
        self._on_instances = SharedGraph([_OnInstances(layer) for layer in layers])
        self._encode, self._masks = _Encode(network, pixels), _Masks(network)
        for cell in (self._encode, self._masks):
            cell.set_train(False)

    def encode(self, image: np.ndarray) -> EncodedFrame:
        """uint8 [H, W, 3]."""
        size = image.shape[:2]
        tokens, features = self._encode(ms.Tensor(image), size_tensor(size))
        return EncodedFrame(tokens, features, size)

    def __call__(self, frames: Sequence[EncodedFrame]) -> DecodedClip:
        """All frames of a clip, of one size."""
        network = self._network
        shapes = level_shapes(frames[0].size, strides=network.backbone.strides, num_levels=network.num_levels)
        content, position = starting_queries(network.query_embed, 1)
        boxes, following = [content] * len(frames), [network.first_reference(position)] * len(frames)
        for on_frame, on_instances in zip(self._on_frame, self._on_instances):
            references = following
            found = [
                FrameInLayer(*on_frame(box, position, reference, frame.tokens, shapes))
                for box, reference, frame in zip(boxes, references, frames)
            ]
            boxes, following = [each.box_content for each in found], [each.box for each in found]
            content = on_instances(content, position, seen_in_all(found))
        logits = network.class_embed[-1](content)[0].asnumpy()
        features = content[0].asnumpy()
        return DecodedClip(logits, features, lambda queries: self._masks_of(queries, frames, content, references))

    def _masks_of(self, queries, frames, content, references) -> np.ndarray:
        """``references``: those that the last layer started from, one a frame."""
        chosen = ms.Tensor(np.asarray(queries, np.int32))
        content, size = ops.gather(content, chosen, 1), size_tensor(frames[0].size)
        masks = [
            self._masks(frame.features, content, ops.gather(reference, chosen, 1), size).asnumpy()
            for frame, reference in zip(frames, references)
        ]
        return np.stack(masks, 1)


def size_tensor(size: tuple[int, int]) -> ms.Tensor:
    return ms.Tensor(np.asarray([size], np.int32))


def seen_in_all(frames: Sequence[FrameInLayer]) -> ms.Tensor:
    """The sum over the frames of what was seen, weighed by how much each frame counts: [1, Q, C]."""
    logits = np.stack([frame.frame_logit.asnumpy() for frame in frames])  # [T, 1, Q, 1]
    weights = np.exp(logits - logits.max(0))
    weights /= weights.sum(0)
    return ms.Tensor(sum(weight * frame.seen.asnumpy() for weight, frame in zip(weights, frames)))
