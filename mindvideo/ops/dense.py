"""Attention and linear layers by the compiled library: with wider vectors than MindSpore's.

Attention is for passes without gradients, in which nothing need be kept, and so is ``half``: products of numbers
rounded to bfloat16, added up in float32, on processors that have instructions for them. Where the library does not do
something (:func:`is_native_attention` and so on) the caller computes it by MindSpore's operators.
"""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, ops
from mindspore.ops import constexpr

from mindvideo.ops.backend import is_native, native_op
from mindvideo.ops.native_call import has_wide_vectors, like_first, numbers, one_number, told_apart, two_like_first

MIN_ROWS = 256  # of a layer: its weights are rearranged in every call, which fewer rows do not repay


def dense_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, half: bool = False) -> Tensor:
    """softmax(query key^T + bias) value: [B,M,R,D], key and value [B,M,S,D], bias [B or 1, 1, R or 1, S] -> [B,M,R,D].

    ``bias`` [1,1,1,1] stands for none. It has no gradient.
    """
    return _attention_op(half)(query, key, value, bias)


def short_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, layout: tuple[int, int, int, int, int], scale: float
) -> Tensor:
    """Attention in each of N short sequences, the heads side by side in the channels: query [N,R,.], key and value
    [N,S,.], bias [S] or [1,1,1,1] for none -> [N,R,C].

    ``layout`` is (C, heads, and where the channels of query, key and value begin in their rows): one tensor can hold
    several of them. ``scale`` is a factor on the queries. It has no gradient.
    """
    return _short_attention_op(*layout)(query, key, value, bias, numbers(*layout), one_number(scale))


def dense_layer(x: Tensor, weight: Tensor, bias: Tensor, half: bool = False) -> Tensor:
    """x weight^T + bias: x [N,K], weight [O,K], bias [O] -> [N,O]."""
    return _half_layer_op()(x, weight, bias) if half else _layer_op()(x, weight, bias)


@constexpr
def is_native_attention(shape: tuple[int, ...], dtype: Any) -> bool:
    """For queries of this shape; a constant inside graphs."""
    return is_native("dense_attention", shape, dtype) and has_wide_vectors()


@constexpr
def is_native_short_attention(shape: tuple[int, ...], dtype: Any) -> bool:
    """For queries of this shape; a constant inside graphs."""
    return is_native("short_attention", shape, dtype) and has_wide_vectors()


@constexpr
def is_native_layer(shape: tuple[int, ...], dtype: Any) -> bool:
    """For x of this shape [..., K]; a constant inside graphs."""
    rows = 1
    for size in shape[:-1]:
        rows *= size
    return rows >= MIN_ROWS and is_native("dense_layer", shape, dtype) and has_wide_vectors()


def _outputs_of_rows(x: Any, weight: Any, bias: Any) -> Any:
    return [x[0], weight[0]]


def _rows_of_inputs(gradient: Any, weight: Any) -> Any:
    return [gradient[0], weight[1]]


def _weight_and_bias(x: Any, gradient: Any) -> Any:
    return [gradient[1], x[1]], [gradient[1]]


def _layer_bprop(
    x: Tensor, weight: Tensor, bias: Tensor, output: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    of_weight, of_bias = _layer_weight_op()(x, gradient)
    return _layer_input_op()(gradient, weight), of_weight, of_bias


@constexpr
def _attention_op(half: bool) -> ops.Custom:
    name = "HalfDenseAttention" if half else "DenseAttention"
    return native_op(name, out_shape=like_first, out_dtype=like_first)


@constexpr
def _short_attention_op(*layout: int) -> ops.Custom:
    def shape_of_result(query: Any, *others: Any) -> Any:
        return [*query[:2], layout[0]]

    return told_apart(native_op("ShortAttention", out_shape=shape_of_result, out_dtype=like_first), *layout)


@constexpr
def _layer_op() -> ops.Custom:
    return native_op("DenseLayer", out_shape=_outputs_of_rows, out_dtype=like_first, bprop=_layer_bprop)


@constexpr
def _half_layer_op() -> ops.Custom:
    return native_op("HalfDenseLayer", out_shape=_outputs_of_rows, out_dtype=like_first)


@constexpr
def _layer_input_op() -> ops.Custom:
    return native_op("DenseLayerInputGradient", out_shape=_rows_of_inputs, out_dtype=like_first)


@constexpr
def _layer_weight_op() -> ops.Custom:
    return native_op("DenseLayerWeightGradient", out_shape=_weight_and_bias, out_dtype=two_like_first)
