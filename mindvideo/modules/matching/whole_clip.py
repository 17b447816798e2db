"""Matching over a clip: the query that fits an instance best on the frames that show it."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.modules.matching.first_frame import FrameMatcher
from mindvideo.ops.assignment import assignment


class ClipMatcher(nn.Cell):
    """The mean of a :class:`FrameMatcher`'s costs over the frames in which the instance is present.

    ``construct(logits [D, B, T, Q, K], boxes [D, B, T, Q, 4], labels int [B, N], targets [B, N, T, 4],
    exists bool [B, N], present bool [B, N, T])`` gives the query of each instance, int32 [D, B, N], -1 for none.
    """

    whole_clip = True

    def __init__(self, *, of_frame: FrameMatcher) -> None:
        super().__init__()
        self.of_frame = of_frame

    def construct(self, logits, boxes, labels, targets, exists, present):
        D, B, T, Q, _ = logits.shape
        N = labels.shape[-1]
        labels = labels.expand_dims(1).broadcast_to((B, T, N))
        cost = self.of_frame.cost(logits, boxes, labels, targets.swapaxes(1, 2))  # [D, B, T, Q, N]
        shown = ops.cast(present.swapaxes(1, 2), ms.float32)  # [B, T, N]
        share = shown / ops.maximum(shown.sum(1, keepdims=True), ms.Tensor(1.0, ms.float32))
        mean = ops.stop_gradient((cost * share.expand_dims(2)).sum(2)).reshape(D * B, Q, N)
        valid = exists.expand_dims(0).broadcast_to((D, B, N)).reshape(D * B, N)
        return assignment(mean, valid).reshape(D, B, N)
