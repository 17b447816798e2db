"""How queries of whole clips are decoded: a clip of any length frame by frame, without a graph of its own for each.

Frames are encoded one at a time. The decoder looks at one frame at a time too; between the frames it needs the softmax
of one number a frame, and what was seen, summed with it. Where the box queries of an instance attend to each other over
the frames, the queries of all frames meet in between. So the numbers are those of the whole network.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindvideo.execution.kept_graph import KeptGraph
from mindvideo.execution.shared_graph import SharedGraph
from mindvideo.modules.clip_queries import first_reference
from mindvideo.modules.encoded_frames import level_shapes, starting_queries
from mindvideo.modules.layers.reference_points import refine, scale_reference
from mindvideo.structures.picture_size import picture_size


@dataclasses.dataclass(frozen=True)
class EncodedFrame:
    """``tokens`` [1, S, C], mask ``features`` [1, 1, c, h, w] and the ``size`` (H, W) of the frame.

    Where the encoder sees whole clips, a frame by itself has the tokens that enter it, and no features yet.
    """

    tokens: ms.Tensor
    features: ms.Tensor | None
    size: tuple[int, int]


class FrameEncoder(Protocol):
    """The part of a network up to the encoder, in two steps: for a frame by itself, and for those of a clip."""

    def encode(self, image: np.ndarray) -> EncodedFrame:
        """uint8 [H, W, 3]."""

    def together(self, frames: Sequence[EncodedFrame]) -> Sequence[EncodedFrame]:
        """The frames of a clip, each with its mask features."""


class EachFrame:
    """A :class:`FrameEncoder` of networks whose encoder sees every frame by itself."""

    def __init__(self, *, network: nn.Cell, pixels: nn.Cell) -> None:
        self._encode = KeptGraph(_Encode(network, pixels))

    def encode(self, image: np.ndarray) -> EncodedFrame:
        size = picture_size(image)
        tokens, features = self._encode(ms.Tensor(image), size_tensor(size))
        return EncodedFrame(tokens, features, size)

    def together(self, frames: Sequence[EncodedFrame]) -> Sequence[EncodedFrame]:
        return frames


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

    def __init__(self, network: nn.Cell, pixels: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network, self.pixels = network, pixels

    def construct(self, image: ms.Tensor, size: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        H, W, _ = image.shape
        frames, padding = self.pixels(image.reshape(1, 1, H, W, 3), size)
        encoded = self.network.encode(frames, padding)
        return encoded["tokens"], encoded["mask_features"]


class _OnFrame(nn.Cell):
    """A decoder layer and its box head on one frame.

    Box content [1, Q, C], query position, reference [1, Q, 2 or 4], tokens [1, S, C] -> FrameInLayer. The box queries
    that ``have_met`` come from _AttendBoxes and _Meet.
    """

    def __init__(self, layer: nn.Cell, box_head: nn.Cell, *, have_met: bool) -> None:
        super().__init__(auto_prefix=False)
        self.layer, self.box_head, self.have_met = layer, box_head, have_met

    def construct(
        self,
        box_content: ms.Tensor,
        query_position: ms.Tensor,
        reference: ms.Tensor,
        tokens: ms.Tensor,
        spatial_shapes: tuple[tuple[int, int], ...],
    ) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor, ms.Tensor]:
        ratios = ops.ones((1, len(spatial_shapes), 2), ms.float32)  # no padding: frames come by themselves
        if not self.have_met:
            box_content = self.layer.attend_boxes(box_content, query_position)
        value = self.layer.cross_attn.project(tokens, None)
        scaled = scale_reference(reference, ratios)
        reading = self.layer.read_frames(box_content, query_position, scaled, value, spatial_shapes)
        box_content = reading["box_content"]
        return box_content, reading["seen"], reading["frame_logit"], refine(reference, self.box_head(box_content))


class _AttendBoxes(nn.Cell):
    """Box content [1, Q, C], query position -> box content."""

    def __init__(self, layer: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.layer = layer

    def construct(self, box_content: ms.Tensor, query_position: ms.Tensor) -> ms.Tensor:
        return self.layer.attend_boxes(box_content, query_position)


class _Meet(nn.Cell):
    """Absent bool [1, T], the box content of each frame [1, Q, C] -> [T, Q, C] after temporal attention."""

    def __init__(self, layer: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.layer = layer

    def construct(self, absent: ms.Tensor, *box_contents: ms.Tensor) -> ms.Tensor:
        return self.layer.attend_frames(ops.cat(box_contents, 0), 1, absent)


class _OnInstances(nn.Cell):
    """Content [1, Q, C], query position, what was seen in all frames [1, Q, C] -> content [1, Q, C]."""

    def __init__(self, layer: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.layer = layer

    def construct(self, content: ms.Tensor, query_position: ms.Tensor, summary: ms.Tensor) -> ms.Tensor:
        return self.layer.update_instances(self.layer.attend_instances(content, query_position), summary)


class _Masks(nn.Cell):
    """features [1, 1, c, h, w], content [1, N, C], reference [1, N, 2 or 4], size [1, 2] -> logits [N, 2 h, 2 w]."""

    def __init__(self, network: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, features: ms.Tensor, content: ms.Tensor, reference: ms.Tensor, size: ms.Tensor) -> ms.Tensor:
        return self.network.masks(features, content, reference[..., :2].expand_dims(2), size)[0, :, 0]


class PortionedSequence:
    """``encode`` each frame, then call with all of them.

    ``window_frames``: more are not seen together; temporal attention has a graph for some numbers of frames only, up to
    this one, and fills shorter clips up.
    """

    def __init__(self, *, network: nn.Cell, encoder: FrameEncoder, window_frames: int) -> None:
        network.set_train(False)
        self._network, self._encoder, self._window_frames = network, encoder, window_frames
        self.encode = encoder.encode
        layers = list(network.decoder.layers)
        meeting = [layer for layer in layers if layer.temp_attn_box is not None]
        on_frames = [
            _OnFrame(*pair, have_met=bool(meeting)) for pair in zip(layers, network.decoder.bbox_embed, strict=True)
        ]
        self._on_frame = SharedGraph(on_frames)
        self._on_instances = SharedGraph([_OnInstances(layer) for layer in layers])
        self._attend = SharedGraph([_AttendBoxes(layer) for layer in layers]) if meeting else itertools.repeat(None)
        self._meet = SharedGraph([_Meet(layer) for layer in meeting]) if meeting else ()
        self._masks = KeptGraph(_Masks(network))

    def __call__(self, frames: Sequence[EncodedFrame]) -> DecodedClip:
        """All frames of a clip, of one size."""
        network = self._network
        frames = self._encoder.together(frames)
        shapes = level_shapes(frames[0].size, strides=network.backbone.strides, num_levels=network.num_levels)
        content, position = starting_queries(network.query_embed, 1)
        boxes = [content] * len(frames)
        following = [first_reference(position, network.reference_points)] * len(frames)
        meet = itertools.chain([None], self._meet) if self._meet else itertools.repeat(None)  # not in the first layer
        for on_frame, on_instances, attend, meeting in zip(self._on_frame, self._on_instances, self._attend, meet):
            references = following
            if attend is not None:
                boxes = self._met([attend(box, position) for box in boxes], meeting)
            found = [
                FrameInLayer(*on_frame(box, position, reference, frame.tokens, shapes))
                for box, reference, frame in zip(boxes, references, frames)
            ]
            boxes, following = [each.box_content for each in found], [each.box for each in found]
            content = on_instances(content, position, seen_in_all(found))
        logits = network.class_embed[-1](content)[0].asnumpy()
        features = content[0].asnumpy()
        return DecodedClip(logits, features, lambda queries: self._masks_of(queries, frames, content, references))

    def _met(self, boxes: list[ms.Tensor], meeting: KeptGraph | None) -> list[ms.Tensor]:
        """The box queries of all frames, [1, Q, C] each, after they have seen each other."""
        if meeting is None:
            return boxes
        held, absent = filled_up(boxes, self._window_frames)
        met = meeting(absent, *held)
        return [met[frame : frame + 1] for frame in range(len(boxes))]

    def _masks_of(
        self,
        queries: Sequence[int],
        frames: Sequence[EncodedFrame],
        content: ms.Tensor,
        references: Sequence[ms.Tensor],
    ) -> np.ndarray:
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


def filled_up(states: Sequence[ms.Tensor], window_frames: int) -> tuple[list[ms.Tensor], ms.Tensor]:
    """The states of T frames, with copies of the last one after them up to a number that has a graph; and which of

    them are copies, bool [1, T'].
    """
    count = number_with_graph(len(states), window_frames)
    absent = np.arange(count)[None] >= len(states)
    return [*states, *[states[-1]] * (count - len(states))], ms.Tensor(absent)


def number_with_graph(num_frames: int, window_frames: int) -> int:
    """The next of 1, 2, 3, 4, 6, 8, 12, 16, ..., which bounds both the graphs and what is computed in vain."""
    count = 1
    while count < num_frames:
        count = count * 3 // 2 if count & (count - 1) == 0 and count > 1 else (count // 3 * 4 if count > 1 else 2)
    return max(num_frames, min(count, window_frames))
