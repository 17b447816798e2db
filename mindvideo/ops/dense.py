"""Attention, linear layers, convolutions and pooling by the compiled library: with wider vectors than MindSpore's.

Attention and pooling are for passes without gradients, in which nothing need be kept. Where the library does not do
something (:func:`is_native_attention` and so on) the caller computes it by MindSpore's operators.
"""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, ops
from mindspore import dtype as mstype
from mindspore.ops import constexpr

from mindvideo.ops.backend import instruction_set, is_native, native_op

_zeros_like = ops.ZerosLike()

MIN_ROWS = 256  # of a layer: its weights are rearranged in every call, which fewer rows do not repay


def dense_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """softmax(query key^T + bias) value: [B,M,R,D], key and value [B,M,S,D], bias [B or 1, 1, R or 1, S] -> [B,M,R,D].

    ``bias`` [1,1,1,1] stands for none. It has no gradient.
    """
    return _attention_op()(query, key, value, bias)


def short_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, layout: tuple[int, int, int, int, int], scale: float
) -> Tensor:
    """Attention in each of N short sequences, the heads side by side in the channels: query [N,R,.], key and value
    [N,S,.], bias [S] or [1,1,1,1] for none -> [N,R,C].

    ``layout`` is (C, heads, and where the channels of query, key and value begin in their rows): one tensor can hold
    several of them. ``scale`` is a factor on the queries. It has no gradient.
    """
    return _short_attention_op(*layout)(query, key, value, bias, _numbers(*layout), _one_number(scale))


def dense_layer(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x weight^T + bias: x [N,K], weight [O,K], bias [O] -> [N,O]."""
    return _layer_op()(x, weight, bias)


def dense_convolution(
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    shift: Tensor,
    residual: Tensor,
    geometry: tuple[int, int, int],
    relu: bool,
) -> Tensor:
    """relu(x * weight * scale + shift + residual): x [B,C,H,W], weight [O,C,k,k], scale and shift [O] -> [B,O,H',W'].

    ``residual`` [1] stands for none, ``geometry`` is (stride, padding, dilation). Gradients: the two functions below.
    """
    return _convolution_op(*geometry)(x, weight, scale, shift, residual, _numbers(*geometry, int(relu)))


def convolution_input_gradient(
    gradient: Tensor, weight: Tensor, scale: Tensor, geometry: tuple[int, int, int], size: tuple[int, int]
) -> Tensor:
    """gradient [B,O,H',W'], weight [O,C,k,k], scale [O], the ``size`` (H, W) of x -> that of x [B,C,H,W]."""
    return _convolution_input_op(*geometry, *size)(gradient, weight, scale, _numbers(*geometry))


def convolution_weight_gradient(
    x: Tensor, gradient: Tensor, scale: Tensor, geometry: tuple[int, int, int], kernel_size: int
) -> tuple[Tensor, Tensor]:
    """x [B,C,H,W], gradient [B,O,H',W'], scale [O] -> those of the weight [O,C,k,k] and of the shift [O]."""
    return _convolution_weight_op(*geometry, kernel_size)(x, gradient, scale, _numbers(*geometry))


def depthwise_convolution(x: Tensor, weight: Tensor) -> Tensor:
    """Each channel by itself, with its own borders of zeros: x [B,C,H,W], weight [C,1,k,k] with k odd -> [B,C,H,W]."""
    return _depthwise_op()(x, weight, _numbers(0))


def gelu(x: Tensor) -> Tensor:
    """x * the normal distribution's probability below x, for x of any shape."""
    return _gelu_op()(x)


def counter_dropout(x: Tensor, iteration: Tensor, offset: int, threshold: int, scale: float) -> Tensor:
    """x [rows, columns] times ``scale`` where the hashed counter of mindvideo/modules/layers/dropout.py is below the
    threshold, elsewhere times 0; ``iteration`` int32 []."""
    return _dropout_op()(x, iteration, _numbers(offset, threshold), _one_number(scale))


def max_pool(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """The greatest of each square of kernel x kernel: x [B,C,H,W] -> [B,C,H',W']. It has no gradient."""
    return _pool_op(kernel, stride, padding)(x, _numbers(kernel, stride, padding))


@constexpr
def is_native_attention(shape: tuple[int, ...], dtype: Any) -> bool:
    """For queries of this shape; a constant inside graphs."""
    return is_native("dense_attention", shape, dtype) and _has_wide_vectors()


@constexpr
def is_native_short_attention(shape: tuple[int, ...], dtype: Any) -> bool:
    """For queries of this shape; a constant inside graphs."""
    return is_native("short_attention", shape, dtype) and _has_wide_vectors()


@constexpr
def is_native_layer(shape: tuple[int, ...], dtype: Any) -> bool:
    """For x of this shape [..., K]; a constant inside graphs."""
    rows = 1
    for size in shape[:-1]:
        rows *= size
    return rows >= MIN_ROWS and is_native("dense_layer", shape, dtype) and _has_wide_vectors()


@constexpr
def is_native_convolution(shape: tuple[int, ...], dtype: Any, groups: int) -> bool:
    """For x of this shape; a constant inside graphs."""
    return groups == 1 and is_native("dense_convolution", shape, dtype) and _has_wide_vectors()


@constexpr
def is_native_depthwise(shape: tuple[int, ...], dtype: Any) -> bool:
    """For x of this shape; a constant inside graphs."""
    return is_native("depthwise_convolution", shape, dtype) and _has_wide_vectors()


@constexpr
def is_native_gelu(shape: tuple[int, ...], dtype: Any) -> bool:
    """For x of this shape; a constant inside graphs."""
    return is_native("gelu", shape, dtype) and _has_wide_vectors()


@constexpr
def is_native_dropout(shape: tuple[int, ...], dtype: Any) -> bool:
    """For x of this shape; a constant inside graphs."""
    return is_native("dropout", shape, dtype)


@constexpr
def is_native_pool(shape: tuple[int, ...], dtype: Any) -> bool:
    """For x of this shape; a constant inside graphs."""
    return is_native("max_pool", shape, dtype) and _has_wide_vectors()


def _has_wide_vectors() -> bool:
    return instruction_set() != "plain"  # whose products are slower than MindSpore's


def _like_first(first: Any, *others: Any) -> Any:
    return first


def _outputs_of_rows(x: Any, weight: Any, bias: Any) -> Any:
    return [x[0], weight[0]]


def _rows_of_inputs(gradient: Any, weight: Any) -> Any:
    return [gradient[0], weight[1]]


def _weight_and_bias(x: Any, gradient: Any) -> Any:
    return [gradient[1], x[1]], [gradient[1]]


def _two_like_first(first: Any, *others: Any) -> Any:
    return first, first


def _layer_bprop(
    x: Tensor, weight: Tensor, bias: Tensor, output: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    of_weight, of_bias = _layer_weight_op()(x, gradient)
    # Left to the end of the step, the weights' gradients would keep every layer's inputs and gradients until then.
    return _layer_input_op()(ops.depend(gradient, of_weight), weight), of_weight, of_bias


def _depthwise_bprop(
    x: Tensor, weight: Tensor, turned: Tensor, output: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    of_weight = _depthwise_weight_op(weight.shape[-1])(x, gradient)
    of_x = _depthwise_op()(ops.depend(gradient, of_weight), weight, _numbers(1))
    return of_x, of_weight, _zeros_like(turned)


def _gelu_bprop(x: Tensor, output: Tensor, gradient: Tensor) -> tuple[Tensor]:
    return (_gelu_gradient_op()(x, gradient),)


@constexpr
def _depthwise_op() -> ops.Custom:
    return native_op("DepthwiseConvolution", out_shape=_like_first, out_dtype=_like_first, bprop=_depthwise_bprop)


@constexpr
def _depthwise_weight_op(kernel_size: int) -> ops.Custom:
    def shape_of_weight(x: Any, gradient: Any) -> Any:
        return [x[1], 1, kernel_size, kernel_size]

    op = native_op("DepthwiseWeightGradient", out_shape=shape_of_weight, out_dtype=_like_first)
    return _told_apart(op, kernel_size)


def _dropout_bprop(
    x: Tensor, iteration: Tensor, numbers: Tensor, scale: Tensor, output: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    of_x = _dropout_op()(gradient, iteration, numbers, scale)
    return of_x, _zeros_like(iteration), _zeros_like(numbers), _zeros_like(scale)


@constexpr
def _dropout_op() -> ops.Custom:
    return native_op("CounterDropout", out_shape=_like_first, out_dtype=_like_first, bprop=_dropout_bprop)


@constexpr
def _gelu_op() -> ops.Custom:
    return native_op("Gelu", out_shape=_like_first, out_dtype=_like_first, bprop=_gelu_bprop)


@constexpr
def _gelu_gradient_op() -> ops.Custom:
    return native_op("GeluGradient", out_shape=_like_first, out_dtype=_like_first)


@constexpr
def _attention_op() -> ops.Custom:
    return native_op("DenseAttention", out_shape=_like_first, out_dtype=_like_first)


@constexpr
def _one_number(number: float) -> Tensor:
    return Tensor([number], mstype.float32)


@constexpr
def _short_attention_op(*layout: int) -> ops.Custom:
    def shape_of_result(query: Any, *others: Any) -> Any:
        return [*query[:2], layout[0]]

    return _told_apart(native_op("ShortAttention", out_shape=shape_of_result, out_dtype=_like_first), *layout)


@constexpr
def _layer_op() -> ops.Custom:
    return native_op("DenseLayer", out_shape=_outputs_of_rows, out_dtype=_like_first, bprop=_layer_bprop)


@constexpr
def _layer_input_op() -> ops.Custom:
    return native_op("DenseLayerInputGradient", out_shape=_rows_of_inputs, out_dtype=_like_first)


@constexpr
def _layer_weight_op() -> ops.Custom:
    return native_op("DenseLayerWeightGradient", out_shape=_weight_and_bias, out_dtype=_two_like_first)


@constexpr
def _numbers(*numbers: int) -> Tensor:
    return Tensor(numbers, mstype.int32)


@constexpr
def _convolution_op(stride: int, padding: int, dilation: int) -> ops.Custom:
    def shape_of_result(x: Any, weight: Any, *others: Any) -> Any:
        sizes = [(s + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for s, k in zip(x[2:], weight[2:])]
        return [x[0], weight[0], *sizes]

    op = native_op("DenseConvolution", out_shape=shape_of_result, out_dtype=_like_first)
    return _told_apart(op, stride, padding, dilation)


@constexpr
def _convolution_input_op(stride: int, padding: int, dilation: int, height: int, width: int) -> ops.Custom:
    def shape_of_x(gradient: Any, weight: Any, *others: Any) -> Any:
        return [gradient[0], weight[1], height, width]

    op = native_op("DenseConvolutionInputGradient", out_shape=shape_of_x, out_dtype=_like_first)
    return _told_apart(op, stride, padding, dilation, height, width)


@constexpr
def _convolution_weight_op(stride: int, padding: int, dilation: int, kernel_size: int) -> ops.Custom:
    def shape_of_parameters(x: Any, gradient: Any, *others: Any) -> Any:
        return [gradient[1], x[1], kernel_size, kernel_size], [gradient[1]]

    op = native_op("DenseConvolutionWeightGradient", out_shape=shape_of_parameters, out_dtype=_two_like_first)
    return _told_apart(op, stride, padding, dilation, kernel_size)


@constexpr
def _pool_op(kernel: int, stride: int, padding: int) -> ops.Custom:
    def shape_of_result(x: Any, window: Any) -> Any:
        return [*x[:2], *((size + 2 * padding - kernel) // stride + 1 for size in x[2:])]

    op = native_op("MaxPool", out_shape=shape_of_result, out_dtype=_like_first)
    return _told_apart(op, kernel, stride, padding)


def _told_apart(op: ops.Custom, *geometry: int) -> ops.Custom:
    """Step by step MindSpore takes operators of one name and attributes for one, whose result has one shape."""
    op.add_prim_attr("geometry", "_".join(map(str, geometry)))
    return op
