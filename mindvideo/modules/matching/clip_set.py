"""Matching of queries that hold an instance for a whole clip: one class, and a box in each frame."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.modules.matching.first_frame import focal_cost, giou_cost
from mindvideo.ops.assignment import assignment


class ClipSetMatcher(nn.Cell):
    """Cheapest one-to-one assignment by class, distance of all boxes and their mean overlap.

    ``construct(logits [D, B, Q, K], boxes [D, B, T, Q, 4], labels int [B, N], targets [B, N, T, 4], exists bool
    [B, N], present bool [B, N, T])`` gives the query of each instance, int32 [D, B, N], -1 where there is none. D are
    decoder layers, each matched by itself. ``absent_boxes``: a frame without the instance counts too, with whatever
    box its row holds. No gradient passes.
    """

    def __init__(self, *, class_weight: float, box_weight: float, giou_weight: float, absent_boxes: bool) -> None:
        super().__init__()
        self.class_weight, self.box_weight, self.giou_weight = class_weight, box_weight, giou_weight
        self.absent_boxes = absent_boxes

    def construct(self, logits, boxes, labels, targets, exists, present):
        D, B, Q, _ = logits.shape
        N = labels.shape[-1]
        cost = ops.stop_gradient(self.cost(logits, boxes, labels, targets, present)).reshape(D * B, Q, N)
        valid = exists.expand_dims(0).broadcast_to((D, B, N)).reshape(D * B, N)
        return assignment(cost, valid).reshape(D, B, N)

    def cost(self, logits, boxes, labels, targets, present):
        """[D, B, Q, N]."""
        shown = self.frame_weights(present)  # [B, N, T]
        # PARITY(seqformer): Euclidean over the numbers of all frames together, neither a sum nor a mean over frames.
        tracks = boxes.swapaxes(2, 3).expand_dims(3)  # [D, B, Q, 1, T, 4]
        difference = (tracks - targets.expand_dims(1)) * shown.expand_dims(1).expand_dims(-1)
        distance = ops.sqrt((difference * difference).sum((-2, -1)))
        overlaps = giou_cost(boxes, targets.swapaxes(1, 2))  # [D, B, T, Q, N]
        weights = shown.swapaxes(1, 2).expand_dims(2)  # [B, T, 1, N]
        overlap = (overlaps * weights).sum(2) / ops.maximum(weights.sum(1), ms.Tensor(1.0, ms.float32))
        return self.box_weight * distance + self.class_weight * focal_cost(logits, labels) + self.giou_weight * overlap

    def frame_weights(self, present):
        """1 where a frame counts: float [B, N, T]."""
        return ops.ones(present.shape, ms.float32) if self.absent_boxes else ops.cast(present, ms.float32)
