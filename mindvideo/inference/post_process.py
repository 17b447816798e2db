"""From the output of a clip network to what the window tracker reads."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindvideo.inference.clip_prediction import ClipPrediction
from mindvideo.inference.export import ExportPlan


class _SlotInference(nn.Cell):
    """One clip through the network: images uint8 [1,T,H,W,3] -> probabilities [Q,T,K], mask logits [Q,T,h,w]."""

    def __init__(self, *, network: nn.Cell, pixels: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network
        self.pixels = pixels

    def construct(self, images, sizes):
        frames, _ = self.pixels(images, sizes)
        logits, _, mask_logits = self.network(frames)  # the frames fill the canvas: no padding to mask
        probabilities = ops.softmax(logits[-1, 0], axis=-1)
        return probabilities[..., :-1], mask_logits[0]  # without "no object"


class SlotRunner:
    """A :class:`~mindvideo.inference.clip_prediction.ClipRunner` over a network whose slots follow instances."""

    def __init__(self, *, network: nn.Cell, pixels: nn.Cell):
        self._cell = _SlotInference(network=network, pixels=pixels)
        self._cell.set_train(False)

    def export_plan(self, *, num_frames: int, size: tuple[int, int]) -> ExportPlan:
        """The graph that :meth:`__call__` runs, for clips of ``num_frames`` frames of ``size`` (H, W)."""
        images = ms.Tensor(np.zeros((1, num_frames, *size, 3), np.uint8))
        inputs = {"images": images, "sizes": ms.Tensor(np.array([size], np.int32))}
        return ExportPlan(graph=self._cell, inputs=inputs, outputs=("probabilities", "mask_logits"))

    def __call__(self, frames: np.ndarray) -> ClipPrediction:
        sizes = np.array([frames.shape[1:3]], np.int32)
        probabilities, mask_logits = self._cell(ms.Tensor(frames[None]), ms.Tensor(sizes))
        return ClipPrediction(probabilities=probabilities.asnumpy(), mask_logits=mask_logits.asnumpy())
