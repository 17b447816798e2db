"""Box losses of matched rows; one number a row, so that padding rows can be masked before the sum."""

from __future__ import annotations

import mindspore as ms
from mindspore import ops

from mindvideo.ops import boxes


def l1_per_box(predicted: ms.Tensor, target: ms.Tensor) -> ms.Tensor:
    """[..., 4], [..., 4] -> [...]: the sum over the four coordinates of the absolute difference."""
    return ops.sum(ops.abs(predicted - target), -1)


def giou_loss_per_box(predicted: ms.Tensor, target: ms.Tensor, *, eps: float = 0.0) -> ms.Tensor:
    """cxcywh [..., 4], [..., 4] -> [...]: 1 - GIoU; ``eps`` as in :mod:`mindvideo.ops.boxes`."""
    return 1.0 - boxes.giou(boxes.cxcywh_to_xyxy(predicted), boxes.cxcywh_to_xyxy(target), eps=eps)
