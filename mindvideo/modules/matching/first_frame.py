"""Matching on one frame: which query belongs to which instance, decided where a clip begins and kept to its end."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.modules.matching.costs import score_of_label
from mindvideo.ops import boxes
from mindvideo.ops.assignment import assignment


def focal_cost(logits: ms.Tensor, labels: ms.Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> ms.Tensor:
    """Focal loss saved by saying yes to the instance's class: logits [..., Q, K], labels [..., N] -> [..., Q, N]."""
    probability = ops.sigmoid(logits)
    absent = (1.0 - alpha) * ops.pow(probability, gamma) * -ops.log(1.0 - probability + 1e-8)
    present = alpha * ops.pow(1.0 - probability, gamma) * -ops.log(probability + 1e-8)
    return score_of_label(present - absent, labels)


def l2_box_cost(predicted: ms.Tensor, target: ms.Tensor) -> ms.Tensor:
    """Euclidean distance of the four coordinates: [..., Q, 4], [..., N, 4] -> [..., Q, N]."""
    difference = predicted.expand_dims(-2) - target.expand_dims(-3)
    return ops.sqrt((difference * difference).sum(axis=-1))


def giou_cost(predicted: ms.Tensor, target: ms.Tensor) -> ms.Tensor:
    """Minus the generalised IoU of cxcywh boxes: [..., Q, 4], [..., N, 4] -> [..., Q, N]."""
    return -boxes.pairwise_giou(boxes.cxcywh_to_xyxy(predicted), boxes.cxcywh_to_xyxy(target))


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
