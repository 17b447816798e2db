"""Layer and group normalisation over every backend, with the residual sum or the ReLU fused where that is native."""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, ops
from mindspore import dtype as mstype
from mindspore.ops import constexpr

from mindvideo.ops.backend import is_native, native_op
from mindvideo.ops.normalization_ref import group_norm_ref, layer_norm_ref

_zeros_like, _cast = ops.ZerosLike(), ops.Cast()


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, residual: Tensor | None = None) -> Tensor:
    """Normalise x (+ residual) over the last axis: x, residual [..., C], weight and bias [C] -> [..., C].

    The native kernels read float32 on CPU and half types on GPU as well; all sum in float32.
    """
    if is_native("layer_norm", x.shape, x.dtype):
        weight, bias = _vectors(x, weight, bias)
        if residual is None:
            return _layer_norm_op()(x, weight, bias, _numbers(epsilon))
        return _residual_layer_norm_op()(x, _cast(residual, x.dtype), weight, bias, _numbers(epsilon))
    if residual is not None:
        x = x + residual
    return layer_norm_ref(x, weight, bias, epsilon)


def group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor, epsilon: float, relu: bool = False) -> Tensor:
    """Normalise groups of channels: x [B, C, ...], weight and bias [C] -> [B, C, ...], clipped at 0 if `relu`."""
    if is_native("group_norm", x.shape, x.dtype):
        weight, bias = _vectors(x, weight, bias)
        return _group_norm_op()(x, weight, bias, _numbers(groups, epsilon, relu))
    output = group_norm_ref(x, groups, weight, bias, epsilon)
    return ops.relu(output) if relu else output


def _vectors(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias are read in one type, x's or float32."""
    read_as = _type_of_vectors(x.dtype, weight.dtype)
    return _cast(weight, read_as), _cast(bias, read_as)


@constexpr
def _type_of_vectors(of_x: Any, of_weight: Any) -> Any:
    return of_x if of_weight == of_x else mstype.float32


@constexpr
def _numbers(*values: float) -> Tensor:
    """Options of a native operator as a float32 tensor: it has no other way to receive them."""
    return Tensor([float(value) for value in values], mstype.float32)


def _like_x(x: Any, *others: Any) -> Any:
    return x


def _layer_norm_gradients(x: Any, weight: Any, epsilon: Any, gradient: Any) -> tuple[Any, Any, Any]:
    return (x, weight, weight)


def _residual_layer_norm_gradients(
    x: Any, residual: Any, weight: Any, epsilon: Any, gradient: Any
) -> tuple[Any, Any, Any]:
    return (x, weight, weight)


def _group_norm_gradients(x: Any, weight: Any, bias: Any, options: Any, gradient: Any) -> tuple[Any, Any, Any]:
    return (x, weight, bias)


def _layer_norm_bprop(
    x: Tensor, weight: Tensor, bias: Tensor, epsilon: Tensor, output: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grad_x, grad_weight, grad_bias = _layer_norm_backward_op()(x, weight, epsilon, gradient)
    return grad_x, grad_weight, grad_bias, _zeros_like(epsilon)


def _residual_layer_norm_bprop(
    x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, epsilon: Tensor, output: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    grad_x, grad_weight, grad_bias = _residual_layer_norm_backward_op()(x, residual, weight, epsilon, gradient)
    return grad_x, grad_x, grad_weight, grad_bias, _zeros_like(epsilon)


def _group_norm_bprop(
    x: Tensor, weight: Tensor, bias: Tensor, options: Tensor, output: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grad_x, grad_weight, grad_bias = _group_norm_backward_op()(x, weight, bias, options, gradient)
    return grad_x, grad_weight, grad_bias, _zeros_like(options)


@constexpr
def _layer_norm_op() -> ops.Custom:
    return native_op("LayerNormForward", out_shape=_like_x, out_dtype=_like_x, bprop=_layer_norm_bprop)


@constexpr
def _residual_layer_norm_op() -> ops.Custom:
    return native_op("ResidualLayerNormForward", out_shape=_like_x, out_dtype=_like_x, bprop=_residual_layer_norm_bprop)


@constexpr
def _group_norm_op() -> ops.Custom:
    return native_op("GroupNormForward", out_shape=_like_x, out_dtype=_like_x, bprop=_group_norm_bprop)


@constexpr
def _layer_norm_backward_op() -> ops.Custom:
    return native_op("LayerNormBackward", out_shape=_layer_norm_gradients, out_dtype=_layer_norm_gradients)


@constexpr
def _residual_layer_norm_backward_op() -> ops.Custom:
    shapes = _residual_layer_norm_gradients
    return native_op("ResidualLayerNormBackward", out_shape=shapes, out_dtype=shapes)


@constexpr
def _group_norm_backward_op() -> ops.Custom:
    return native_op("GroupNormBackward", out_shape=_group_norm_gradients, out_dtype=_group_norm_gradients)
