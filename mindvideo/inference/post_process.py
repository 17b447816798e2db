"""From the output of a clip network to what the window tracker reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindvideo.data.media.frame_size import size_after
from mindvideo.inference.export import ExportPlan
from mindvideo.inference.scoring.clip_prediction import ClipPrediction
from mindvideo.inference.scoring.track_vote import first_candidates


class _Frames(nn.Cell):
    """images uint8 [1,T,H,W,3] -> normalised frames [1,T,3,H,W]"""

    def __init__(self, *, pixels: nn.Cell):
        super().__init__(auto_prefix=False)
        self.pixels = pixels

    def construct(self, images: ms.Tensor, sizes: ms.Tensor) -> ms.Tensor:
        return self.pixels(images, sizes)[0]  # the frames fill the canvas: no padding to mask


class _FrameClassInference(nn.Cell):
    """One clip through the network: images uint8 [1,T,H,W,3] -> probabilities [Q,T,K], mask logits [Q,T,h,w]."""

    def __init__(self, *, network: nn.Cell, frames: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network
        self.frames = frames

    def construct(self, images: ms.Tensor, sizes: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        logits, _, masks = self.network(self.frames(images, sizes))
        probabilities = ops.softmax(logits[-1, 0], axis=-1)
        return probabilities[..., :-1], masks[0]  # without "no object"


class PortionedFrames(Protocol):
    """A clip network that runs in portions, see execution/portions.py."""

    def run(self, frames: ms.Tensor) -> dict[str, ms.Tensor]:
        """Normalised frames [1, T, 3, H, W] -> logits, masks and queries, by name."""


class FrameClassRunner:
    """A :class:`~mindvideo.inference.scoring.clip_prediction.ClipRunner` over a network of one class a frame.

    ``network``: normalised frames [1, T, 3, H, W] -> class logits [D, 1, Q, T, K], of which the last class is "no
    object", boxes, and mask logits [1, Q, T, h, w]; ``portioned``: the same function in less memory, which is what runs
    here, and gives the queries besides. The whole network is what is exported.
    """

    def __init__(self, *, network: nn.Cell, portioned: PortionedFrames, pixels: nn.Cell):
        self._frames = _Frames(pixels=pixels)
        self._portioned = portioned
        self._whole = _FrameClassInference(network=network, frames=self._frames)
        self._whole.set_train(False)

    def export_plan(self, *, num_frames: int, size: tuple[int, int]) -> ExportPlan:
        """The same as :meth:`__call__`, as one graph, for clips of ``num_frames`` frames of ``size`` (H, W)."""
        images = ms.Tensor(np.zeros((1, num_frames, *size, 3), np.uint8))
        inputs = {"images": images, "sizes": ms.Tensor(np.array([size], np.int32))}
        return ExportPlan(graph=self._whole, inputs=inputs, outputs=("probabilities", "mask_logits"))

    def __call__(self, frames: Sequence[np.ndarray]) -> ClipPrediction:
        """Frames uint8 [h, w, 3] of the network's size."""
        images = np.stack(frames)
        sizes = np.array([images.shape[1:3]], np.int32)
        found = self._portioned.run(self._frames(ms.Tensor(images[None]), ms.Tensor(sizes)))
        return ClipPrediction(
            probabilities=softmax(found["logits"][-1, 0].asnumpy())[..., :-1],
            mask_logits=found["masks"][0].asnumpy(),
            features=found["queries"][0].asnumpy(),
        )


class Decoded(Protocol):
    """Class logits and features [Q, .] of a clip, and the mask logits [N, T, h, w] of the queries one asks for."""

    @property
    def logits(self) -> np.ndarray: ...

    @property
    def features(self) -> np.ndarray: ...

    @property
    def masks(self) -> Callable[[Sequence[int]], np.ndarray]: ...


class PortionedClip(Protocol):
    """A clip network that takes its frames one by one."""

    def encode(self, image: np.ndarray) -> Any:
        """uint8 [h, w, 3] -> what is kept of a frame."""

    def __call__(self, frames: Sequence[Any]) -> Decoded: ...


class _Encoding:
    """uint8 [H, W, 3] -> what the network keeps of a frame; ``size_for``: the size in which it sees one."""

    def __init__(self, portioned: PortionedClip, resize: Callable[[np.ndarray], np.ndarray]) -> None:
        self._portioned, self._resize = portioned, resize

    def __call__(self, frame: np.ndarray) -> Any:
        return self._portioned.encode(np.ascontiguousarray(self._resize(frame)))

    def size_for(self, size: tuple[int, int]) -> tuple[int, int]:
        return size_after(self._resize, size)


class _SequenceInference(nn.Cell):
    """One clip through a network of whole-clip queries.

    Images uint8 [1,T,H,W,3] -> probabilities [Q,K], boxes [Q,T,4], mask logits [Q,T,h,w].
    """

    def __init__(self, *, network: nn.Cell, pixels: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network, self.pixels = network, pixels

    def construct(self, images: ms.Tensor, sizes: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        logits, boxes, masks = self.network(*self.pixels(images, sizes))
        return ops.sigmoid(logits[-1, 0, :, 0]), boxes[-1, 0], masks[0]


class SequenceRunner:
    """A :class:`~mindvideo.inference.scoring.clip_prediction.ClipRunner` over a network whose queries hold whole clips.

    ``network``: normalised frames [1,T,3,H,W] and padding -> Predictions; ``portioned``: the same function for any
    number of frames, which is what runs here. Of each window the queries of the ``candidate_pairs`` best (query,
    category) are looked at further. ``clip_frames``: how many frames an exported graph takes.
    """

    def __init__(
        self,
        *,
        network: nn.Cell,
        portioned: PortionedClip,
        pixels: nn.Cell,
        resize: Callable[[np.ndarray], np.ndarray],
        candidate_pairs: int,
        clip_frames: int,
    ):
        self._portioned, self.prepare = portioned, _Encoding(portioned, resize)
        self._candidate_pairs, self._clip_frames = candidate_pairs, clip_frames
        self._whole = _SequenceInference(network=network, pixels=pixels)
        self._whole.set_train(False)

    def export_plan(self, *, num_frames: int, size: tuple[int, int]) -> ExportPlan:
        """The whole network as one graph, for clips of frames of ``size`` (H, W)."""
        images = ms.Tensor(np.zeros((1, self._clip_frames, *size, 3), np.uint8))
        inputs = {"images": images, "sizes": ms.Tensor(np.array([size], np.int32))}
        return ExportPlan(graph=self._whole, inputs=inputs, outputs=("probabilities", "boxes", "mask_logits"))

    def __call__(self, frames: Sequence[Any]) -> ClipPrediction:
        decoded = self._portioned(frames)
        probabilities = 1.0 / (1.0 + np.exp(-decoded.logits))  # [Q, K]
        chosen = first_candidates(probabilities[None], self._candidate_pairs)
        return ClipPrediction(
            probabilities=in_every_frame(probabilities[chosen], len(frames)),
            mask_logits=decoded.masks(chosen),
            features=in_every_frame(decoded.features[chosen], len(frames)),
        )


def in_every_frame(values: np.ndarray, T: int) -> np.ndarray:
    """[Q, C] -> [Q, T, C]."""
    return np.broadcast_to(values[:, None], (len(values), T, values.shape[1]))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
