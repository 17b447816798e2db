"""Linear layers over many rows by the compiled library, which uses wider vectors than MindSpore's products on CPU."""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, ops
from mindspore.ops import constexpr

from mindvideo.ops.backend import has_wide_vectors, is_native, native_op

MIN_ROWS = 256  # the weights are rearranged in every call, which fewer rows do not repay

_products, _first_transposed, _zeros_like = ops.MatMul(), ops.MatMul(transpose_a=True), ops.ZerosLike()


def dense_layer(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weight^T + bias: x [N,K], weight [O,K], bias [O] -> [N,O]; only where :func:`is_faster` says so."""
    return _op()(x, weight) if bias is None else _op_with_bias()(x, weight, bias)


@constexpr
def is_faster(shape: tuple[int, ...], dtype: Any) -> bool:
    """Whether the library does it, for x of this shape [..., K]; a constant inside graphs."""
    rows = 1
    for size in shape[:-1]:
        rows *= size
    return rows >= MIN_ROWS and is_native("dense_layer", shape, dtype) and has_wide_vectors()


def _shape(x: Any, weight: Any, *bias: Any) -> Any:
    return [x[0], weight[0]]


def _type(x: Any, *others: Any) -> Any:
    return x


def _bprop(x: Tensor, weight: Tensor, output: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    return _products(gradient, weight), _first_transposed(gradient, x)


def _bprop_with_bias(
    x: Tensor, weight: Tensor, bias: Tensor, output: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return _products(gradient, weight), _first_transposed(gradient, x), ops.sum(gradient, 0)


@constexpr
def _op() -> ops.Custom:
    return native_op("DenseLayer", out_shape=_shape, out_dtype=_type, bprop=_bprop)


@constexpr
def _op_with_bias() -> ops.Custom:
    # Under a name of its own: MindSpore keeps one gradient function for each name.
    return native_op("DenseLayerWithBias", out_shape=_shape, out_dtype=_type, bprop=_bprop_with_bias)
