"""Mask losses from logits; one number a mask, so that padding rows can be masked before the sum."""

from __future__ import annotations

import mindspore as ms
from mindspore import ops


def sigmoid_focal(logits: ms.Tensor, target: ms.Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> ms.Tensor:
    """Element-wise focal loss, any shape. ``target`` is float 0/1; ``alpha`` < 0 switches the class balance off."""
    # log(1 + exp(-|x|)) + max(x, 0) - x*t: exact for large |x|, where log(sigmoid(x)) is not.
    cross_entropy = ops.relu(logits) - logits * target + ops.log1p(ops.exp(-ops.abs(logits)))
    probability = ops.sigmoid(logits)
    missing = probability + target - 2.0 * probability * target  # 1 - p_t
    loss = cross_entropy * (missing * missing if gamma == 2.0 else ops.pow(missing, gamma))
    if alpha >= 0:
        loss = loss * (alpha * target + (1.0 - alpha) * (1.0 - target))
    return loss


def focal_per_mask(logits: ms.Tensor, target: ms.Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> ms.Tensor:
    """[..., P] logits and 0/1 targets over the pixels of one mask -> [...]: the mean focal loss."""
    return sigmoid_focal(logits, target, alpha=alpha, gamma=gamma).mean(axis=-1)


def dice_per_mask(logits: ms.Tensor, target: ms.Tensor) -> ms.Tensor:
    """[..., P] logits and 0/1 targets over the pixels of one mask -> [...]: 1 - dice, smoothed by 1."""
    probability = ops.sigmoid(logits)
    overlap = ops.sum(probability * target, -1)
    return 1.0 - (2.0 * overlap + 1.0) / (ops.sum(probability, -1) + ops.sum(target, -1) + 1.0)
