"""Convolutions: by the compiled library, with what follows them in the same step; elsewhere by MindSpore."""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import HeNormal, initializer

from mindvideo.ops.convolution import (
    convolution_input_gradient,
    convolution_weight_gradient,
    dense_convolution,
    depthwise_convolution,
    is_native_convolution,
    is_native_depthwise,
)

_zeros_like = ops.ZerosLike()


class _ScaledRows(nn.Cell):
    """weight [O, ...], scale [O], which is not trained -> weight with its o-th row multiplied by ``scale[o]``.

    The scale is spread over the weight first, and again in the backward pass: an element-wise operator that broadcasts
    by itself keeps four times its result on CPU, and a spread scale kept from one pass to the other would be as large
    as the weight.
    """

    def construct(self, weight: ms.Tensor, scale: ms.Tensor) -> ms.Tensor:
        return weight * self.spread(scale, weight)

    def bprop(
        self, weight: ms.Tensor, scale: ms.Tensor, out: ms.Tensor, gradient: ms.Tensor
    ) -> tuple[ms.Tensor, ms.Tensor]:  # noqa: ARG002
        return gradient * self.spread(ops.depend(scale, gradient), gradient), _zeros_like(scale)

    def spread(self, scale: ms.Tensor, weight: ms.Tensor) -> ms.Tensor:
        return ops.broadcast_to(scale.reshape(-1, 1, 1, 1), weight.shape)


class ConvolutionPass(nn.Cell):
    """x [N,C,H,W], weight [O,C/groups,k,k] -> relu(x * weight * scale + shift + residual) [N,O,H',W'].

    scale and shift [O], the residual [N,O,H',W'] and the ReLU are left out unless they are given. The scale is not
    trained. MindSpore's operators, where the library is not used, take the weight multiplied with the scale.
    """

    half_products = False  # see execution/precision.py

    def __init__(
        self, out_channels: int, kernel_size: int, *, padding: int, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv2d = ops.Conv2D(
            out_channels, kernel_size, pad_mode="pad", pad=padding, stride=stride, dilation=dilation, group=groups
        )
        self.add_shift = ops.BiasAdd()
        self.scale_rows = _ScaledRows()
        self.groups = groups
        self.geometry = (stride, padding, dilation)
        self.linear = _OneStep(kernel_size, self.geometry, relu=False)
        self.rectified = _OneStep(kernel_size, self.geometry, relu=True)

    def construct(
        self,
        x: ms.Tensor,
        weight: ms.Tensor,
        scale: ms.Tensor | None = None,
        shift: ms.Tensor | None = None,
        residual: ms.Tensor | None = None,
        relu: bool = False,
    ) -> ms.Tensor:
        if is_native_convolution(x.shape, x.dtype, self.groups):
            outputs = weight.shape[:1]
            scale = ops.ones(outputs, x.dtype) if scale is None else scale
            shift = ops.zeros(outputs, x.dtype) if shift is None else shift
            residual = ops.zeros((1,), x.dtype) if residual is None else residual
            if self.half_products:
                return dense_convolution(x, weight, scale, shift, residual, self.geometry, relu, half=True)
            one_step = self.rectified if relu else self.linear
            return one_step(x, weight, scale, shift, residual)
        return self.by_mindspore(x, weight, scale, shift, residual, relu)

    def by_mindspore(
        self,
        x: ms.Tensor,
        weight: ms.Tensor,
        scale: ms.Tensor | None,
        shift: ms.Tensor | None,
        residual: ms.Tensor | None,
        relu: bool,
    ) -> ms.Tensor:
        y = self.conv2d(x, weight if scale is None else self.scale_rows(weight, scale))
        y = y if shift is None else self.add_shift(y, shift)
        return finished(y, residual, relu)


def finished(y: ms.Tensor, residual: ms.Tensor | None, relu: bool) -> ms.Tensor:
    """relu(y + residual), without what is not asked for."""
    y = y if residual is None else y + residual
    return ops.relu(y) if relu else y


class _OneStep(nn.Cell):
    """The compiled library's convolution and its gradients; ``residual`` [1] stands for none."""

    def __init__(self, kernel_size: int, geometry: tuple[int, int, int], *, relu: bool) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.geometry = geometry  # stride, padding, dilation
        self.relu = relu

    def construct(
        self, x: ms.Tensor, weight: ms.Tensor, scale: ms.Tensor, shift: ms.Tensor, residual: ms.Tensor
    ) -> ms.Tensor:
        return dense_convolution(x, weight, scale, shift, residual, self.geometry, self.relu)

    def bprop(
        self,
        x: ms.Tensor,
        weight: ms.Tensor,
        scale: ms.Tensor,
        shift: ms.Tensor,
        residual: ms.Tensor,
        out: ms.Tensor,
        gradient: ms.Tensor,
    ) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor, ms.Tensor, ms.Tensor]:
        if self.relu:
            gradient = ops.masked_fill(gradient, out <= 0, 0.0)
        of_weight, of_shift = convolution_weight_gradient(x, gradient, scale, self.geometry, self.kernel_size)
        of_x = convolution_input_gradient(gradient, weight, scale, self.geometry, x.shape[2:])
        of_residual = gradient if residual.ndim == 4 else _zeros_like(residual)
        return of_x, of_weight, _zeros_like(scale), of_shift, of_residual


class Convolution(nn.Cell):
    """Of the backbones: no bias, padded so that stride 1 keeps the size; Kaiming-normal (fan out) initialised."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        trainable: bool = True,
    ) -> None:
        super().__init__()
        shape = (out_channels, in_channels // groups, kernel_size, kernel_size)
        init = HeNormal(mode="fan_out", nonlinearity="relu")
        self.weight = Parameter(initializer(init, shape), name="weight", requires_grad=trainable)
        padding = dilation * (kernel_size // 2)
        self.convolve = ConvolutionPass(
            out_channels, kernel_size, padding=padding, stride=stride, dilation=dilation, groups=groups
        )

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """x [N, C, H, W] -> [N, C', H', W'] with H' = ceil(H / stride)."""
        return self.convolve(x, self.weight)

    def scaled(
        self, x: ms.Tensor, scale: ms.Tensor, shift: ms.Tensor, residual: ms.Tensor | None, relu: bool
    ) -> ms.Tensor:
        """relu(the convolution * ``scale[c]`` + ``shift[c]`` + ``residual``) for each output channel c."""
        return self.convolve(x, self.weight, scale, shift, residual, relu)


class Conv2d(nn.Conv2d):
    """MindSpore's ``nn.Conv2d`` of a square kernel with a bias: its parameters and their initial values."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, padding: int = 0, **options: Any):
        super().__init__(
            in_channels, out_channels, kernel_size, pad_mode="pad", padding=padding, has_bias=True, **options
        )
        self.convolve = ConvolutionPass(out_channels, kernel_size, padding=padding, stride=options.get("stride", 1))

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """x [N, C, H, W] -> [N, C', H', W']"""
        return self.convolve(x, self.weight, None, self.bias)


class DepthwisePass(nn.Cell):
    """Each channel by itself, an odd kernel, zeros around: x [N, C, H, W], weight [C, 1, k, k] -> [N, C, H, W]."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.conv2d = ops.Conv2D(channels, kernel_size, pad_mode="pad", pad=kernel_size // 2, group=channels)

    def construct(self, x: ms.Tensor, weight: ms.Tensor) -> ms.Tensor:
        if is_native_depthwise(x.shape, x.dtype):
            return depthwise_convolution(x, weight)
        return self.conv2d(x, weight)


class DepthwiseConv2d(nn.Conv2d):
    """MindSpore's ``nn.Conv2d`` of each channel by itself with a bias: its parameters and their initial values."""

    def __init__(self, channels: int, kernel_size: int, **options: Any):
        padding = kernel_size // 2
        super().__init__(
            channels, channels, kernel_size, pad_mode="pad", padding=padding, group=channels, has_bias=True, **options
        )
        self.convolve = DepthwisePass(channels, kernel_size)
        self.add_bias = ops.BiasAdd()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """x [N, C, H, W] -> [N, C, H, W]"""
        return self.add_bias(self.convolve(x, self.weight), self.bias)
