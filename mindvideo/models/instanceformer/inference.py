"""One frame of online inference as one graph: bytes and the state in, predictions and the next state out."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindvideo.models.instanceformer.network import InstanceFormer


class InstanceFormerStep(nn.Cell):
    """``construct(image uint8 [H, W, 3], *state)`` gives

    class probabilities [Q, K], boxes cxcywh in units of the frame [Q, 4], mask logits [Q, 2 * H8, 2 * W8], embeddings
    [Q, C], first reference points [Q, 2], what the last decoder layer read [Q, M, L, P, 2], and the next state.
    """

    num_predictions = 6

    def __init__(self, *, network: InstanceFormer, pixels: nn.Cell) -> None:
        super().__init__()
        self.network, self.pixels = network, pixels

    def initial_state(self) -> tuple[ms.Tensor, ...]:
        """Before the first frame of a video."""
        network = self.network
        content = network.query_embed.asnumpy()[None, :, network.channels :]
        state = [
            content,
            np.zeros((1, network.num_queries, network.reference_width), np.float32),
            np.zeros((), np.int32),
        ]
        if network.has_memory:
            state.append(np.zeros((1, *network.memory_shape), np.float32))
        return tuple(ms.Tensor(np.ascontiguousarray(part)) for part in state)

    def construct(self, image, content, reference, frames_seen, memory=None):
        H, W, _ = image.shape
        frames, padding = self.pixels(image.reshape(1, 1, H, W, 3), frame_size(H, W))
        state = (content, reference, frames_seen)
        if memory is not None:
            state += (memory,)
        predictions, masks, state = self.frame(frames, padding, frame_size(H, W), state)
        logits, boxes, embeddings, _, first_reference, locations = predictions
        return (ops.sigmoid(logits)[0], boxes[0], masks[0], embeddings[0], first_reference[0], locations[0], *state)

    def frame(self, frames, padding, size, state):
        """Normalised frames [1, 1, 3, H, W], padding [1, 1, H, W], size [1, 2] as (h, w)."""
        network = self.network
        spatial_shapes, ratios, flat_padding, tokens, features = network.encode(frames, padding)
        values = network.values_of_frames(tokens, flat_padding, 1)
        predictions, state = network.step(values[0], spatial_shapes, ratios, state)
        masks = network.masks(features[:, 0], predictions[2], predictions[3], size)
        return predictions, masks, state


@ops.constexpr
def frame_size(height: int, width: int) -> ms.Tensor:
    return ms.Tensor(np.asarray([[height, width]], np.int32))
