"""Focal and dice loss of masks by the compiled library: one pass, which keeps only logits and targets for its gradient.

Where the library does not do them the caller computes them by MindSpore's operators.
"""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, ops
from mindspore.ops import constexpr

from mindvideo.ops.backend import is_native, native_op
from mindvideo.ops.native_call import like_first, one_number

_zeros_like = ops.ZerosLike()


def focal_rows(logits: Tensor, target: Tensor, alpha: float) -> Tensor:
    """Logits [R, P] and 0/1 targets [M, P], M rows that repeat -> the mean of each row [R], with a gamma of 2."""
    return _focal_op()(logits, target, one_number(alpha))


def dice_rows(logits: Tensor, target: Tensor) -> Tensor:
    """As above -> [R, 2]: the sums of probability times target, and of probability plus target."""
    return _dice_op()(logits, target)


@constexpr
def is_native_loss(shape: tuple[int, ...], dtype: Any) -> bool:
    """For logits of this shape; a constant inside graphs."""
    return is_native("mask_losses", shape, dtype)


def _rows(logits: Any, *others: Any) -> Any:
    return [logits[0]]


def _two_a_row(logits: Any, *others: Any) -> Any:
    return [logits[0], 2]


def _focal_bprop(
    logits: Tensor, target: Tensor, alpha: Tensor, output: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    of_logits = _focal_gradient_op()(logits, target, alpha, gradient)
    return of_logits, _zeros_like(target), _zeros_like(alpha)


def _dice_bprop(logits: Tensor, target: Tensor, output: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    return _dice_gradient_op()(logits, target, gradient), _zeros_like(target)


@constexpr
def _focal_op() -> ops.Custom:
    return native_op("FocalRows", out_shape=_rows, out_dtype=like_first, bprop=_focal_bprop)


@constexpr
def _focal_gradient_op() -> ops.Custom:
    return native_op("FocalRowsGradient", out_shape=like_first, out_dtype=like_first)


@constexpr
def _dice_op() -> ops.Custom:
    return native_op("DiceRows", out_shape=_two_a_row, out_dtype=like_first, bprop=_dice_bprop)


@constexpr
def _dice_gradient_op() -> ops.Custom:
    return native_op("DiceRowsGradient", out_shape=like_first, out_dtype=like_first)
