"""Convolutions and pooling by the compiled library: with wider vectors than MindSpore's, and maps stay as they lie.

Where the library does not do something (:func:`is_native_convolution` and so on) the caller computes it by MindSpore's
operators.
"""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, ops
from mindspore.ops import constexpr

from mindvideo.ops.backend import is_native, native_op
from mindvideo.ops.native_call import has_wide_vectors, like_first, numbers, told_apart, two_like_first

# Products in bfloat16 lay the maps out anew, which has to pay: tiles hold 32 channels, which the three of a picture
# would leave empty, and each channel has to be used this often.
MIN_HALF_CHANNELS, MIN_HALF_USES = 12, 32
_zeros_like = ops.ZerosLike()


def dense_convolution(
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    shift: Tensor,
    residual: Tensor,
    geometry: tuple[int, int, int],
    relu: bool,
    half: bool = False,
) -> Tensor:
    """relu(x * weight * scale + shift + residual): x [B,C,H,W], weight [O,C,k,k], scale and shift [O] -> [B,O,H',W'].

    ``residual`` [1] stands for none, ``geometry`` is (stride, padding, dilation). Gradients: the two functions below.
    ``half``: with products of numbers rounded to bfloat16 (ops/dense.py), which has none.
    """
    outputs, channels, *kernel = weight.shape
    half = half and channels >= MIN_HALF_CHANNELS and outputs * kernel[0] * kernel[1] >= MIN_HALF_USES
    return _convolution_op(half, *geometry)(x, weight, scale, shift, residual, numbers(*geometry, int(relu)))


def convolution_input_gradient(
    gradient: Tensor, weight: Tensor, scale: Tensor, geometry: tuple[int, int, int], size: tuple[int, int]
) -> Tensor:
    """gradient [B,O,H',W'], weight [O,C,k,k], scale [O], the ``size`` (H, W) of x -> that of x [B,C,H,W]."""
    return _convolution_input_op(*geometry, *size)(gradient, weight, scale, numbers(*geometry))


def convolution_weight_gradient(
    x: Tensor, gradient: Tensor, scale: Tensor, geometry: tuple[int, int, int], kernel_size: int
) -> tuple[Tensor, Tensor]:
    """x [B,C,H,W], gradient [B,O,H',W'], scale [O] -> those of the weight [O,C,k,k] and of the shift [O]."""
    return _convolution_weight_op(*geometry, kernel_size)(x, gradient, scale, numbers(*geometry))


def depthwise_convolution(x: Tensor, weight: Tensor) -> Tensor:
    """Each channel by itself, with its own borders of zeros: x [B,C,H,W], weight [C,1,k,k] with k odd -> [B,C,H,W]."""
    return _depthwise_op()(x, weight, numbers(0))


def max_pool(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """The greatest of each square of kernel x kernel: x [B,C,H,W] -> [B,C,H',W']. It has no gradient."""
    return _pool_op(kernel, stride, padding)(x, numbers(kernel, stride, padding))


@constexpr
def is_native_convolution(shape: tuple[int, ...], dtype: Any, groups: int) -> bool:
    """For x of this shape; a constant inside graphs."""
    return groups == 1 and is_native("dense_convolution", shape, dtype) and has_wide_vectors()


@constexpr
def is_native_depthwise(shape: tuple[int, ...], dtype: Any) -> bool:
    """For x of this shape; a constant inside graphs."""
    return is_native("depthwise_convolution", shape, dtype) and has_wide_vectors()


@constexpr
def is_native_pool(shape: tuple[int, ...], dtype: Any) -> bool:
    """For x of this shape; a constant inside graphs."""
    return is_native("max_pool", shape, dtype) and has_wide_vectors()


@constexpr
def _convolution_op(half: bool, stride: int, padding: int, dilation: int) -> ops.Custom:
    def shape_of_result(x: Any, weight: Any, *others: Any) -> Any:
        sizes = [(s + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for s, k in zip(x[2:], weight[2:])]
        return [x[0], weight[0], *sizes]

    name = "HalfDenseConvolution" if half else "DenseConvolution"
    op = native_op(name, out_shape=shape_of_result, out_dtype=like_first)
    return told_apart(op, stride, padding, dilation)


@constexpr
def _convolution_input_op(stride: int, padding: int, dilation: int, height: int, width: int) -> ops.Custom:
    def shape_of_x(gradient: Any, weight: Any, *others: Any) -> Any:
        return [gradient[0], weight[1], height, width]

    op = native_op("DenseConvolutionInputGradient", out_shape=shape_of_x, out_dtype=like_first)
    return told_apart(op, stride, padding, dilation, height, width)


@constexpr
def _convolution_weight_op(stride: int, padding: int, dilation: int, kernel_size: int) -> ops.Custom:
    def shape_of_parameters(x: Any, gradient: Any, *others: Any) -> Any:
        return [gradient[1], x[1], kernel_size, kernel_size], [gradient[1]]

    op = native_op("DenseConvolutionWeightGradient", out_shape=shape_of_parameters, out_dtype=two_like_first)
    return told_apart(op, stride, padding, dilation, kernel_size)


def _depthwise_bprop(
    x: Tensor, weight: Tensor, turned: Tensor, output: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    of_weight = _depthwise_weight_op(weight.shape[-1])(x, gradient)
    of_x = _depthwise_op()(gradient, weight, numbers(1))
    return of_x, of_weight, _zeros_like(turned)


@constexpr
def _depthwise_op() -> ops.Custom:
    return native_op("DepthwiseConvolution", out_shape=like_first, out_dtype=like_first, bprop=_depthwise_bprop)


@constexpr
def _depthwise_weight_op(kernel_size: int) -> ops.Custom:
    def shape_of_weight(x: Any, gradient: Any) -> Any:
        return [x[1], 1, kernel_size, kernel_size]

    op = native_op("DepthwiseWeightGradient", out_shape=shape_of_weight, out_dtype=like_first)
    return told_apart(op, kernel_size)


@constexpr
def _pool_op(kernel: int, stride: int, padding: int) -> ops.Custom:
    def shape_of_result(x: Any, window: Any) -> Any:
        return [*x[:2], *((size + 2 * padding - kernel) // stride + 1 for size in x[2:])]

    op = native_op("MaxPool", out_shape=shape_of_result, out_dtype=like_first)
    return told_apart(op, kernel, stride, padding)
