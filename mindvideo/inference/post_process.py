"""From the output of a clip network to what the window tracker reads."""

from __future__ import annotations

from collections.abc import Callable

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindvideo.inference.clip_prediction import ClipPrediction
from mindvideo.inference.export import ExportPlan


class _Frames(nn.Cell):
    """images uint8 [1,T,H,W,3] -> normalised frames [1,T,3,H,W]"""

    def __init__(self, *, pixels: nn.Cell):
        super().__init__(auto_prefix=False)
        self.pixels = pixels

    def construct(self, images, sizes):
        return self.pixels(images, sizes)[0]  # the frames fill the canvas: no padding to mask


class _SlotInference(nn.Cell):
    """One clip through the network: images uint8 [1,T,H,W,3] -> probabilities [Q,T,K], mask logits [Q,T,h,w]."""

    def __init__(self, *, network: nn.Cell, frames: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network
        self.frames = frames

    def construct(self, images, sizes):
        logits, _, mask_logits = self.network(self.frames(images, sizes))
        probabilities = ops.softmax(logits[-1, 0], axis=-1)
        return probabilities[..., :-1], mask_logits[0]  # without "no object"


class SlotRunner:
    """A :class:`~mindvideo.inference.clip_prediction.ClipRunner` over a network whose slots follow instances.

    ``network``: normalised frames [1,T,3,H,W] -> class logits [L,1,Q,T,K+1], boxes, mask logits [1,Q,T,h,w];
    ``portioned``: the same function in less memory, which is what runs here. The whole network is what is exported.
    """

    def __init__(self, *, network: nn.Cell, portioned: Callable[[ms.Tensor], tuple[ms.Tensor, ...]], pixels: nn.Cell):
        self._frames = _Frames(pixels=pixels)
        self._portioned = portioned
        self._whole = _SlotInference(network=network, frames=self._frames)
        self._whole.set_train(False)

    def export_plan(self, *, num_frames: int, size: tuple[int, int]) -> ExportPlan:
        """What :meth:`__call__` computes as one graph, for clips of ``num_frames`` frames of ``size`` (H, W)."""
        images = ms.Tensor(np.zeros((1, num_frames, *size, 3), np.uint8))
        inputs = {"images": images, "sizes": ms.Tensor(np.array([size], np.int32))}
        return ExportPlan(graph=self._whole, inputs=inputs, outputs=("probabilities", "mask_logits"))

    def __call__(self, frames: np.ndarray) -> ClipPrediction:
        sizes = np.array([frames.shape[1:3]], np.int32)
        logits, _, mask_logits = self._portioned(self._frames(ms.Tensor(frames[None]), ms.Tensor(sizes)))
        probabilities = softmax(logits[-1, 0].asnumpy())[..., :-1]
        return ClipPrediction(probabilities=probabilities, mask_logits=mask_logits[0].asnumpy())


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
