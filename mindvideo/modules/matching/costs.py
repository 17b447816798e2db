"""The terms of a matcher's table: what it costs to give a query to an instance, all queries against all instances.

Each takes ``predictions``, ``targets`` and ``counted``, float [B, N, T] with a 1 at each frame that counts for an
instance, and gives [D, B, Q, N]. Where a term compares frame by frame, its cost is the mean over the counted frames
(0 where none counts).
"""

from __future__ import annotations

import mindspore as ms
from mindspore import ops

from mindvideo.modules.values import MatchTargets, Predictions
from mindvideo.ops import boxes
from mindvideo.ops.slices import at, swapped

COORDINATES = 4


def softmax_class(predictions: Predictions, targets: MatchTargets, counted: ms.Tensor) -> ms.Tensor:
    """Minus the probability of the instance's class; in a frame without the instance, of class 0."""
    labels = ops.cast(targets["labels"], ms.int32).expand_dims(-1) * ops.cast(targets["present"], ms.int32)  # [B, N, T]
    probabilities = swapped(ops.softmax(predictions["logits"], axis=-1), 2, 3)  # [D, B, T, Q, K]
    return mean_over_frames(-score_of_label(probabilities, swapped(labels, 1, 2)), counted)


def focal_class(
    predictions: Predictions,
    targets: MatchTargets,
    counted: ms.Tensor,
    *,
    of_clip: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> ms.Tensor:
    """Focal loss saved by saying yes to the instance's class; ``of_clip``: a query has one class for all frames."""
    probability = ops.sigmoid(swapped(predictions["logits"], 2, 3))  # [D, B, T or 1, Q, K]
    absent = (1.0 - alpha) * ops.pow(probability, gamma) * -ops.log(1.0 - probability + 1e-8)
    present = alpha * ops.pow(1.0 - probability, gamma) * -ops.log(probability + 1e-8)
    cost = score_of_label(present - absent, targets["labels"].expand_dims(1))  # [D, B, T or 1, Q, N]
    return at(cost, 2, 0) if of_clip else mean_over_frames(cost, counted)


def l1_box(predictions: Predictions, targets: MatchTargets, counted: ms.Tensor) -> ms.Tensor:
    """The mean absolute difference of the four coordinates."""
    predicted, target = boxes_of_frames(predictions, targets)
    difference = ops.abs(predicted.expand_dims(-2) - target.expand_dims(-3))
    return mean_over_frames(ops.sum(difference, -1) / COORDINATES, counted)


def euclidean_box(predictions: Predictions, targets: MatchTargets, counted: ms.Tensor) -> ms.Tensor:
    """The Euclidean distance of the four coordinates."""
    predicted, target = boxes_of_frames(predictions, targets)
    difference = predicted.expand_dims(-2) - target.expand_dims(-3)
    return mean_over_frames(ops.sqrt(ops.sum(difference * difference, -1)), counted)


def joint_euclidean_box(predictions: Predictions, targets: MatchTargets, counted: ms.Tensor) -> ms.Tensor:
    """The Euclidean distance of the coordinates of all counted frames together: neither a sum nor a mean of frames."""
    tracks = predictions["boxes"].expand_dims(3)  # [D, B, Q, 1, T, 4]
    difference = (tracks - targets["boxes"].expand_dims(1)) * counted.expand_dims(1).expand_dims(-1)
    return ops.sqrt(ops.sum(difference * difference, (-2, -1)))


def iou_box(predictions: Predictions, targets: MatchTargets, counted: ms.Tensor, *, eps: float = 0.0) -> ms.Tensor:
    """Minus the IoU of the boxes; ``eps`` as in :mod:`mindvideo.ops.boxes`."""
    predicted, target = boxes_of_frames(predictions, targets)
    overlap = boxes.pairwise_iou(boxes.cxcywh_to_xyxy(predicted), boxes.cxcywh_to_xyxy(target), eps=eps)
    return mean_over_frames(-overlap, counted)


def giou_box(predictions: Predictions, targets: MatchTargets, counted: ms.Tensor, *, eps: float = 0.0) -> ms.Tensor:
    """Minus the generalised IoU of the boxes; ``eps`` as in :mod:`mindvideo.ops.boxes`."""
    predicted, target = boxes_of_frames(predictions, targets)
    overlap = boxes.pairwise_giou(boxes.cxcywh_to_xyxy(predicted), boxes.cxcywh_to_xyxy(target), eps=eps)
    return mean_over_frames(-overlap, counted)


def boxes_of_frames(predictions: Predictions, targets: MatchTargets) -> tuple[ms.Tensor, ms.Tensor]:
    """Boxes with the frame before the query: predicted [D, B, T, Q, 4], targets [B, T, N, 4]."""
    return swapped(predictions["boxes"], 2, 3), swapped(targets["boxes"], 1, 2)


def score_of_label(scores: ms.Tensor, labels: ms.Tensor) -> ms.Tensor:
    """scores [..., Q, K], labels int [..., N] -> [..., Q, N]; a product with one-hot rows, so it is exact."""
    one_hot = ops.cast(ops.one_hot(ops.cast(labels, ms.int32), scores.shape[-1]), scores.dtype)
    return ops.matmul(scores, swapped(one_hot, -1, -2))


def mean_over_frames(cost: ms.Tensor, counted: ms.Tensor) -> ms.Tensor:
    """cost [D, B, T, Q, N], counted float [B, N, T] -> [D, B, Q, N]."""
    weight = swapped(counted, 1, 2).expand_dims(2)  # [B, T, 1, N]
    return ops.sum(cost * weight, 2) / ops.maximum(ops.sum(weight, 1), ms.Tensor(1.0, ms.float32))
