"""How VidEoMT runs on a video: one compiled graph a frame, with the queries as state."""

from __future__ import annotations

from typing import NamedTuple

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindvideo.data.media.frame_size import resize_frame
from mindvideo.execution.kept_graph import KeptGraph
from mindvideo.inference.post_process import softmax
from mindvideo.inference.trackers.lives import Observation
from mindvideo.inference.trackers.video_pairs import QueryFrame
from mindvideo.models.videomt.network import VidEoMT
from mindvideo.structures.picture_size import picture_size


class OnlineState(NamedTuple):
    """All that passes from frame to frame."""

    query: ms.Tensor  # [1, Q, C], what enters the query blocks of the next frame


class FrameGraph(nn.Cell):
    """One frame as MindSpore compiles and exports it; it is padded with zeros to multiples of ``divisor``."""

    def __init__(self, *, network: VidEoMT, pixels: nn.Cell, divisor: int) -> None:
        super().__init__(auto_prefix=False)  # what a frame is seen with must not rename what is trained
        self.network, self.pixels, self.divisor = network, pixels, divisor

    def construct(self, image: ms.Tensor, query: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        """image uint8 [H, W, 3], query [1, Q, C] -> logits [Q, K + 1], masks [Q, h, w], the next query [1, Q, C]."""
        H, W, _ = image.shape
        frames, _ = self.pixels(image.reshape(1, 1, H, W, 3), _frame_size(H, W))
        down, right = -H % self.divisor, -W % self.divisor
        frames = ops.pad(frames.reshape(1, 3, H, W), (0, right, 0, down))
        network = self.network
        stages, query = network.follow(frames.expand_dims(0), query)
        last = stages[-1]  # [1, 1, Q + S, C]
        features = network.features(last, (H + down, W + right))[-1]
        masks = network.masks(network.mask_head(network.queries_of(last)), features)
        return network.classify(stages[-1:])[0, 0, :, 0], masks[0, 0], query


class VidEoMTStep:
    """A :class:`QueryStep` of the tracker: the graph of a frame, with names for its columns."""

    def __init__(self, *, network: VidEoMT, pixels: nn.Cell, divisor: int) -> None:
        self.graph = FrameGraph(network=network, pixels=pixels, divisor=divisor)
        self._run = KeptGraph(self.graph)

    def initial_state(self) -> OnlineState:
        """Before the first frame of a video."""
        return OnlineState(ms.Tensor(self.graph.network.query.asnumpy()[None]))

    def padded_size(self, size: tuple[int, int]) -> tuple[int, int]:
        H, W = size
        return H + -H % self.graph.divisor, W + -W % self.graph.divisor

    def observe(self, image: ms.Tensor, state: OnlineState) -> tuple[Observation, OnlineState]:
        """A frame in the terms of the tracker for videos of any length, whose categories count from 1."""
        seen, following = self(image, state)
        probabilities = softmax(seen.logits.asnumpy())
        probabilities = np.pad(probabilities[:, :-1], ((0, 0), (1, 0)))  # no object -> category 0, which nothing is
        return Observation(probabilities, seen.masks.asnumpy()), following

    def renewed(self, state: OnlineState, queries: np.ndarray) -> OnlineState:
        """The state with some queries, bool [Q], as in the first frame."""
        fresh = self.graph.network.query.asnumpy()
        return OnlineState(ms.Tensor(np.where(queries[:, None], fresh, state.query.asnumpy())))

    def __call__(self, image: ms.Tensor, state: OnlineState) -> tuple[QueryFrame, OnlineState]:
        logits, masks, query = self._run(image, state.query)
        return QueryFrame(logits, masks), OnlineState(query)


@ops.constexpr
def _frame_size(height: int, width: int) -> ms.Tensor:
    return ms.Tensor(np.asarray([[height, width]], np.int32))


class RoundedResize:
    """Frames to the size the network sees: a short side, unless the long one passes its limit; or a square.

    Sides are rounded, where :class:`ShortSideResize` cuts them off: the published models were tested like this.
    """

    def __init__(self, *, short_side: int | None, long_side: int | None, square: int = 0) -> None:
        self.short_side, self.long_side, self.square = short_side, long_side, square

    def size_for(self, size: tuple[int, int]) -> tuple[int, int]:
        if self.square:
            return self.square, self.square
        if self.short_side is None:
            return size
        H, W = size
        scale = self.short_side / min(size)
        h, w = (self.short_side, scale * W) if H < W else (scale * H, self.short_side)
        if self.long_side is not None and max(h, w) > self.long_side:
            shrink = self.long_side / max(h, w)
            h, w = h * shrink, w * shrink
        return int(h + 0.5), int(w + 0.5)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        return resize_frame(frame, self.size_for(picture_size(frame)))
