"""Deformable convolution v1: one public function over the native kernel and its pure-MindSpore twin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mindspore import Tensor, ops
from mindspore import dtype as mstype
from mindspore.ops import constexpr

from mindvideo.errors import UserError
from mindvideo.ops.backend import native_op, runs_as
from mindvideo.ops.deform_conv_ref import deform_conv2d_ref

_zeros_like = ops.ZerosLike()


def deform_conv2d(
    x: Tensor, offset: Tensor, weight: Tensor, stride: int = 1, padding: int = 1, dilation: int = 1
) -> Tensor:
    """Convolve at positions moved by `offset`; one group, one offset group, no bias, no modulation.

    x [B, C, H, W], offset [B, 2*kh*kw, Ho, Wo], weight [O, C, kh, kw] -> [B, O, Ho, Wo]. Offset channels 2k and 2k + 1
    are (dy, dx) of tap k = ky*kw + kx. A tap at or beyond one pixel outside the image, or at a position that is not
    finite, contributes nothing; otherwise missing corners count 0. Gradients flow to all three tensors.
    """
    check_arguments(x.shape, offset.shape, weight.shape, stride, padding, dilation)
    B, outputs = x.shape[0], weight.shape[0]
    Ho, Wo = offset.shape[2], offset.shape[3]
    result_type = x.dtype
    if B * outputs * Ho * Wo == 0:
        return ops.zeros((B, outputs, Ho, Wo), result_type)
    x = ops.cast(x, mstype.float32)
    offset = ops.cast(offset, mstype.float32)
    weight = ops.cast(weight, mstype.float32)
    if x.size * weight.size > 0 and runs_as("native", "deform_conv2d", x.dtype):
        geometry = _geometry(stride, padding, dilation)
        output = _forward_op()(x, offset, weight, geometry)
    else:
        output = deform_conv2d_ref(x, offset, weight, stride, padding, dilation)
    return ops.cast(output, result_type)


@constexpr
def _geometry(stride: int, padding: int, dilation: int) -> Tensor:
    return Tensor([stride, padding, dilation], mstype.int32)


@constexpr
def check_arguments(
    x: Sequence[int],
    offset: Sequence[int],
    weight: Sequence[int],
    stride: int,
    padding: int,
    dilation: int,
) -> bool:
    """Compare shapes with each other; every message names what was expected and what came."""
    if len(x) != 4 or len(offset) != 4 or len(weight) != 4:
        raise UserError(
            "deform_conv2d: expected x [B, C, H, W], offset [B, 2*kh*kw, Ho, Wo] and weight [O, C, kh, kw]; "
            f"got {x}, {offset} and {weight}"
        )
    if stride < 1 or padding < 0 or dilation < 1:
        raise UserError(
            f"deform_conv2d: needs stride >= 1, padding >= 0, dilation >= 1; got {stride}, {padding}, {dilation}"
        )
    if weight[1] != x[1]:
        raise UserError(f"deform_conv2d: x has {x[1]} channels, weight is for {weight[1]} (groups are not supported)")
    expected = [x[0], 2 * weight[2] * weight[3]]
    for size, kernel in ((x[2], weight[2]), (x[3], weight[3])):
        expected.append((size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1)
    if list(offset) != expected:
        raise UserError(f"deform_conv2d: offset must be {expected}; got {list(offset)}")
    return True


def _output_shape(x: list[int], offset: list[int], weight: list[int], geometry: list[int]) -> list[int]:
    return [x[0], weight[0], offset[2], offset[3]]


def _output_type(x: Any, offset: Any, weight: Any, geometry: Any) -> Any:
    return x


def _three_inputs(x: Any, offset: Any, weight: Any, geometry: Any, gradient: Any) -> tuple[Any, Any, Any]:
    return (x, offset, weight)


def _bprop(
    x: Tensor, offset: Tensor, weight: Tensor, geometry: Tensor, output: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grad_x, grad_offset, grad_weight = _backward_op()(x, offset, weight, geometry, gradient)
    return grad_x, grad_offset, grad_weight, _zeros_like(geometry)


@constexpr
def _forward_op() -> ops.Custom:
    return native_op("DeformConv2dForward", out_shape=_output_shape, out_dtype=_output_type, bprop=_bprop)


@constexpr
def _backward_op() -> ops.Custom:
    return native_op("DeformConv2dBackward", out_shape=_three_inputs, out_dtype=_three_inputs)
