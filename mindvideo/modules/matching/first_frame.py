"""Matching on one frame: which query belongs to which instance, decided where a clip begins and kept to its end."""

from __future__ import annotations

from mindspore import nn, ops

from mindvideo.modules.matching.costs import focal_cost, giou_cost, l2_box_cost
from mindvideo.ops.assignment import assignment


class FrameMatcher(nn.Cell):
    """Cheapest one-to-one assignment by class, box distance and box overlap on one frame.

    ``construct(logits [D, B, Q, K], boxes [D, B, Q, 4], labels int [B, N], targets [B, N, 4], exists bool [B, N])``
    gives the query of each instance, int32 [D, B, N], -1 where there is no instance. D are decoder layers, each
    matched by itself; boxes are cxcywh in units of the frame. No gradient passes.
    """

    whole_clip = False

    def __init__(self, *, class_weight: float, box_weight: float, giou_weight: float) -> None:
        super().__init__()
        self.class_weight, self.box_weight, self.giou_weight = class_weight, box_weight, giou_weight

    def construct(self, logits, boxes, labels, targets, exists):
        D, B, Q, _ = logits.shape
        N = labels.shape[-1]
        cost = ops.stop_gradient(self.cost(logits, boxes, labels, targets)).reshape(D * B, Q, N)
        valid = exists.expand_dims(0).broadcast_to((D, B, N)).reshape(D * B, N)
        return assignment(cost, valid).reshape(D, B, N)

    def cost(self, logits, boxes, labels, targets):
        """[D, B, Q, N]."""
        # PARITY(instanceformer, seqformer): the box distance is Euclidean though the models' papers say L1.
        distance = l2_box_cost(boxes, targets)
        overlap = giou_cost(boxes, targets)
        return self.box_weight * distance + self.class_weight * focal_cost(logits, labels) + self.giou_weight * overlap
