"""Mask losses from logits; one number a mask, so that padding rows can be masked before the sum."""

from __future__ import annotations

import mindspore as ms
from mindspore import ops

from mindvideo.ops.mask_losses import dice_rows, focal_rows, is_native_loss
from mindvideo.ops.slices import at


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
    """[..., P] logits and 0/1 targets over the pixels of one mask -> [...]: the mean focal loss.

    Targets may lack the logits' first axis; they then hold for all of it.
    """
    if gamma == 2.0 and is_native_loss(logits.shape, logits.dtype):
        return focal_rows(*as_rows(logits, target), alpha).reshape(logits.shape[:-1])
    return sigmoid_focal(logits, spread(target, logits), alpha=alpha, gamma=gamma).mean(axis=-1)


def dice_per_mask(logits: ms.Tensor, target: ms.Tensor) -> ms.Tensor:
    """[..., P] logits and 0/1 targets over the pixels of one mask -> [...]: 1 - dice, smoothed by 1.

    Targets may lack the logits' first axis; they then hold for all of it.
    """
    if is_native_loss(logits.shape, logits.dtype):
        sums = dice_rows(*as_rows(logits, target)).reshape(*logits.shape[:-1], 2)
        return 1.0 - (2.0 * at(sums, -1, 0) + 1.0) / (at(sums, -1, 1) + 1.0)
    target = spread(target, logits)
    probability = ops.sigmoid(logits)
    overlap = ops.sum(probability * target, -1)
    return 1.0 - (2.0 * overlap + 1.0) / (ops.sum(probability, -1) + ops.sum(target, -1) + 1.0)


def as_rows(logits: ms.Tensor, target: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
    """Both with one axis of masks and one of pixels."""
    pixels = logits.shape[-1]
    return logits.reshape(-1, pixels), target.reshape(-1, pixels)


def spread(target: ms.Tensor, logits: ms.Tensor) -> ms.Tensor:
    """The target with all the axes of the logits."""
    return target if target.shape == logits.shape else ops.broadcast_to(target.expand_dims(0), logits.shape)
