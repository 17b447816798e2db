"""A clip of any length through SeqFormer frame by frame, which takes no graph of its own for each length.

Frames are encoded one at a time. The decoder looks at one frame at a time too; between the frames it needs the softmax
of one number a frame, and what was seen, summed with it. So the numbers are those of the whole network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindvideo.execution.shared_graph import SharedGraph
from mindvideo.models.seqformer.network import SeqFormer
from mindvideo.modules.transformers.memory_decoder import refine, scale_reference


@dataclasses.dataclass(frozen=True)
class EncodedFrame:
    """``tokens`` [1, S, C], mask ``features`` [1, c, H8, W8] and the ``size`` (H, W) of the frame."""

    tokens: ms.Tensor
    features: ms.Tensor
    size: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class DecodedClip:
    """Class ``logits`` [Q, K]; ``masks(queries)`` makes the mask logits of some queries, [N, T, h, w]."""

    logits: np.ndarray
    masks: Callable[[Sequence[int]], np.ndarray]


class _Encode(nn.Cell):
    """image uint8 [H, W, 3] and its size [1, 2] -> tokens [1, S, C], mask features [1, c, H8, W8]."""

    def __init__(self, network: SeqFormer, pixels: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network, self.pixels = network, pixels

    def construct(self, image, size):
        H, W, _ = image.shape
        frames, padding = self.pixels(image.reshape(1, 1, H, W, 3), size)
        _, _, _, tokens, features = self.network.encode(frames, padding)
        return tokens, features[0]


class _OnFrame(nn.Cell):
    """A decoder layer and its box head on one frame.

    Box content [1, Q, C], query position, reference [1, Q, 2 or 4], tokens [1, S, C] -> box content, what was seen
    [Q, C], how much it counts [Q, 1], box [1, Q, 4].
    """

    def __init__(self, layer: nn.Cell, box_head: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.layer, self.box_head = layer, box_head

    def construct(self, box_content, query_position, reference, tokens, spatial_shapes):
        ratios = ops.ones((1, len(spatial_shapes), 2), ms.float32)  # no padding: frames come alone
        box_content = self.layer.attend_boxes(box_content, query_position)
        value = self.layer.cross_attn.project(tokens, None)
        box_content, seen, logits = self.layer.look(
            box_content, query_position, scale_reference(reference, ratios), value, spatial_shapes
        )
        return box_content, seen[0], logits[0], refine(reference, self.box_head(box_content))


class _OnInstances(nn.Cell):
    """Content [1, Q, C], query position, what was seen in all frames [1, Q, C] -> content [1, Q, C]."""

    def __init__(self, layer: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.layer = layer

    def construct(self, content, query_position, summary):
        return self.layer.take(self.layer.attend_instances(content, query_position), summary)


class _Masks(nn.Cell):
    """mask features [1, c, H8, W8], content [1, N, C], reference [1, N, 4], size [1, 2] -> logits [N, h, w]."""

    def __init__(self, network: SeqFormer) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, features, content, reference, size):
        return self.network.masks(features, content, reference, size)[0]


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
        return EncodedFrame(*self._encode(ms.Tensor(image), size_tensor(size)), size)

    def __call__(self, frames: Sequence[EncodedFrame]) -> DecodedClip:
        """All frames of a clip, of one size."""
        network = self._network
        shapes = network.level_shapes(*frames[0].size)
        position, content = network.query_position(1), network.start_content(1)
        boxes, following = [content] * len(frames), [network.first_reference(position)] * len(frames)
        for on_frame, on_instances in zip(self._on_frame, self._on_instances):
            references = following
            found = [
                on_frame(box, position, reference, frame.tokens, shapes)
                for box, reference, frame in zip(boxes, references, frames)
            ]
            boxes, following = [each[0] for each in found], [each[3] for each in found]
            content = on_instances(content, position, seen_in_all(found))
        logits = network.class_embed[-1](content)[0].asnumpy()
        return DecodedClip(logits, lambda queries: self._masks_of(queries, frames, content, references))

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


def seen_in_all(found) -> ms.Tensor:
    """What :class:`_OnFrame` gave for every frame -> the weighted sum of what was seen, [1, Q, C]."""
    logits = np.stack([logit.asnumpy() for _, _, logit, _ in found])  # [T, Q, 1]
    weights = np.exp(logits - logits.max(0))
    weights /= weights.sum(0)
    return ms.Tensor(sum(weight * seen.asnumpy() for weight, (_, seen, _, _) in zip(weights, found))[None])
