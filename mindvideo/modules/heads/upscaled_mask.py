"""Masks as products of a query's vector with a finer map of the patch tokens."""

from __future__ import annotations

import math

import mindspore as ms
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import Uniform, initializer

from mindvideo.modules.layers.convolution import DepthwisePass
from mindvideo.modules.layers.feed_forward import exact_gelu
from mindvideo.modules.layers.linear import Linear, linear
from mindvideo.modules.layers.norm import LayerNorm

NORM_EPSILON = 1e-6


class DoublingConvolution(nn.Cell):
    """Transposed convolution of kernel and stride 2, one matrix product: [F, h, w, C] -> [F, C, 2h, 2w]."""

    half_products = False  # see execution/precision.py

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(4 * channels)
        self.weight = Parameter(initializer(Uniform(bound), (channels, channels, 2, 2)), name="weight")
        self.bias = Parameter(initializer(Uniform(bound), (channels,)), name="bias")

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        F, h, w, C = x.shape
        kernel = self.weight.transpose(2, 3, 1, 0).reshape(4 * C, C)  # a cell gives its four children's channels
        children = linear(x.reshape(F * h * w, C), kernel, ops.tile(self.bias, (4,)), self.half_products)
        return children.reshape(F, h, w, 2, 2, C).transpose(0, 5, 1, 3, 2, 4).reshape(F, C, 2 * h, 2 * w)


class DepthwiseConvolution(nn.Cell):
    """3 x 3 for each channel by itself, no bias: [F, C, h, w] -> [F, C, h, w]."""

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.weight = Parameter(initializer(Uniform(1.0 / 3.0), (channels, 1, 3, 3)), name="weight")
        self.convolve = DepthwisePass(channels, 3)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.convolve(x, self.weight)


class UpscaleBlock(nn.Cell):
    """[F, h, w, C] -> [F, 2h, 2w, C]."""

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.conv1 = DoublingConvolution(channels=channels)
        self.conv2 = DepthwiseConvolution(channels=channels)
        self.norm = LayerNorm(channels, epsilon=NORM_EPSILON)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.norm(self.conv2(exact_gelu(self.conv1(x))).transpose(0, 2, 3, 1))


class GeluMLP(nn.Cell):
    """Three dense layers with exact GELU between them: [..., C] -> [..., C]."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = (Linear(width, width) for _ in range(3))

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.fc3(exact_gelu(self.fc2(exact_gelu(self.fc1(x)))))
