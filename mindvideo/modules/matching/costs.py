"""Costs of giving a query to an instance, all queries against all instances: [..., Q, N]."""

from __future__ import annotations

import mindspore as ms
from mindspore import ops

from mindvideo.ops import boxes


def _score_of_label(scores: ms.Tensor, labels: ms.Tensor) -> ms.Tensor:
    """scores [..., Q, K], labels int [..., N] -> [..., Q, N]; a product with one-hot rows, so it is exact."""
    one_hot = ops.one_hot(labels.astype(ms.int32), scores.shape[-1]).astype(scores.dtype)
    return ops.matmul(scores, one_hot.swapaxes(-1, -2))


def probability_cost(probabilities: ms.Tensor, labels: ms.Tensor) -> ms.Tensor:
    """Minus the probability of the instance's class: probabilities [..., Q, K], labels [..., N] -> [..., Q, N]."""
    return -_score_of_label(probabilities, labels)


def focal_cost(logits: ms.Tensor, labels: ms.Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> ms.Tensor:
    """Focal loss saved by saying yes to the instance's class: logits [..., Q, K], labels [..., N] -> [..., Q, N]."""
    probability = ops.sigmoid(logits)
    absent = (1.0 - alpha) * ops.pow(probability, gamma) * -ops.log(1.0 - probability + 1e-8)
    present = alpha * ops.pow(1.0 - probability, gamma) * -ops.log(probability + 1e-8)
    return _score_of_label(present - absent, labels)


def l1_box_cost(predicted: ms.Tensor, target: ms.Tensor) -> ms.Tensor:
    """Sum of absolute differences: [..., Q, 4], [..., N, 4] -> [..., Q, N]."""
    return ops.abs(predicted.expand_dims(-2) - target.expand_dims(-3)).sum(axis=-1)


def l2_box_cost(predicted: ms.Tensor, target: ms.Tensor) -> ms.Tensor:
    """Euclidean distance of the four coordinates: [..., Q, 4], [..., N, 4] -> [..., Q, N]."""
    difference = predicted.expand_dims(-2) - target.expand_dims(-3)
    return ops.sqrt((difference * difference).sum(axis=-1))


def iou_cost(predicted: ms.Tensor, target: ms.Tensor, *, eps: float = 0.0) -> ms.Tensor:
    """Minus the IoU of cxcywh boxes: [..., Q, 4], [..., N, 4] -> [..., Q, N]."""
    return -boxes.pairwise_iou(boxes.cxcywh_to_xyxy(predicted), boxes.cxcywh_to_xyxy(target), eps=eps)


def giou_cost(predicted: ms.Tensor, target: ms.Tensor, *, eps: float = 0.0) -> ms.Tensor:
    """Minus the generalised IoU of cxcywh boxes: [..., Q, 4], [..., N, 4] -> [..., Q, N]."""
    return -boxes.pairwise_giou(boxes.cxcywh_to_xyxy(predicted), boxes.cxcywh_to_xyxy(target), eps=eps)
