"""GELU and dropout by the compiled library: one pass over memory, and nothing that is kept for the backward pass.

Where the library does not do them the caller computes them by MindSpore's operators.
"""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, ops
from mindspore.ops import constexpr

from mindvideo.ops.backend import is_native, native_op
from mindvideo.ops.native_call import has_wide_vectors, like_first, numbers, one_number

_zeros_like = ops.ZerosLike()


def gelu(x: Tensor) -> Tensor:
    """x * the normal distribution's probability below x, for x of any shape."""
    return _gelu_op()(x)


def counter_dropout(x: Tensor, iteration: Tensor, offset: int, threshold: int, scale: float) -> Tensor:
    """x [rows, columns] times ``scale`` where the hashed counter of mindvideo/modules/layers/dropout.py is below the
    threshold, elsewhere times 0; ``iteration`` int32 []."""
    return _dropout_op()(x, iteration, numbers(offset, threshold), one_number(scale))


@constexpr
def is_native_gelu(shape: tuple[int, ...], dtype: Any) -> bool:
    """For x of this shape; a constant inside graphs."""
    return is_native("gelu", shape, dtype) and has_wide_vectors()


@constexpr
def is_native_dropout(shape: tuple[int, ...], dtype: Any) -> bool:
    """For x of this shape; a constant inside graphs."""
    return is_native("dropout", shape, dtype)


def _gelu_bprop(x: Tensor, output: Tensor, gradient: Tensor) -> tuple[Tensor]:
    return (_gelu_gradient_op()(x, gradient),)


@constexpr
def _gelu_op() -> ops.Custom:
    return native_op("Gelu", out_shape=like_first, out_dtype=like_first, bprop=_gelu_bprop)


@constexpr
def _gelu_gradient_op() -> ops.Custom:
    return native_op("GeluGradient", out_shape=like_first, out_dtype=like_first)


def _dropout_bprop(
    x: Tensor, iteration: Tensor, numbers: Tensor, scale: Tensor, output: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    of_x = _dropout_op()(gradient, iteration, numbers, scale)
    return of_x, _zeros_like(iteration), _zeros_like(numbers), _zeros_like(scale)


@constexpr
def _dropout_op() -> ops.Custom:
    return native_op("CounterDropout", out_shape=like_first, out_dtype=like_first, bprop=_dropout_bprop)
