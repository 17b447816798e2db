"""ConvNeXt: four normalised maps at strides 4, 8, 16 and 32, any input size.

Parameter names are those of torchvision's classifier: ``features.0.0.weight`` (stem), ``features.1.2.block.0.weight``
(first stage, third block, depthwise convolution), ``features.2.1.weight`` (what leads to the second stage) ... The
norms of the maps that are returned, ``norm0`` and so on, are those of detectors; a classifier's file lacks them.
"""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import TruncatedNormal, initializer

from mindvideo.modules.layers.convolution import ConvolutionPass, DepthwiseConv2d
from mindvideo.modules.layers.dropout import DropPath
from mindvideo.modules.layers.feed_forward import exact_gelu
from mindvideo.modules.layers.linear import Linear
from mindvideo.modules.layers.norm import LayerNorm
from mindvideo.ops.normalization import layer_norm

STAGES = 4
PATCH = 4
STAGE_STRIDES = tuple(PATCH * 2**stage for stage in range(STAGES))
KERNEL = 7
MLP_RATIO = 4
EPSILON = 1e-6
LAYER_SCALE = 1e-6
_INIT_STD = 0.02


class ChannelNorm(LayerNorm):
    """LayerNorm over the channels of each cell: x [N, C, H, W] -> [N, C, H, W]."""

    def construct(self, x: ms.Tensor) -> ms.Tensor:  # type: ignore[override]  # no residual is added to a map
        y = layer_norm(x.transpose(0, 2, 3, 1), self.weight, self.bias, self.epsilon, None)
        return y.transpose(0, 3, 1, 2)


class Shrink(nn.Cell):
    """A convolution whose stride is its kernel, over x padded with zeros: [N, C, H, W] -> [N, C', ceil, ceil]."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.weight = Parameter(_weights(out_channels, in_channels, stride, stride), name="weight")
        self.bias = Parameter(initializer("zeros", (out_channels,)), name="bias")
        self.convolve = ConvolutionPass(out_channels, stride, padding=0, stride=stride)
        self.stride = stride

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        N, C, H, W = x.shape
        right, below = -W % self.stride, -H % self.stride
        if right:
            x = ops.concat((x, ops.zeros((N, C, H, right), x.dtype)), 3)
        if below:
            x = ops.concat((x, ops.zeros((N, C, below, W + right), x.dtype)), 2)
        return self.convolve(x, self.weight, None, self.bias)


class ChannelsLast(nn.Cell):
    """[N, C, H, W] -> [N, H, W, C]"""

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return x.transpose(0, 2, 3, 1)


class ChannelsFirst(nn.Cell):
    """[N, H, W, C] -> [N, C, H, W]"""

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return x.transpose(0, 3, 1, 2)


class ExactGelu(nn.Cell):
    """The exact form, not the one by tanh."""

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return exact_gelu(x)


class ConvNeXtBlock(nn.Cell):
    """x [N, C, H, W] -> the same shape: a 7x7 depthwise convolution, then each cell by itself through two layers."""

    def __init__(self, *, channels: int, drop_path: float) -> None:
        super().__init__()
        hidden = MLP_RATIO * channels
        self.block = nn.SequentialCell(
            _depthwise(channels),
            ChannelsLast(),
            LayerNorm(channels, epsilon=EPSILON),
            _dense(channels, hidden),
            ExactGelu(),
            _dense(hidden, channels),
            ChannelsFirst(),
        )
        self.layer_scale = Parameter(initializer(LAYER_SCALE, (channels, 1, 1)), name="layer_scale")
        self.drop_path = DropPath(drop_path)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return x + self.drop_path(self.block(x) * self.layer_scale)


class ConvNeXt(nn.Cell):
    """frames [N, 3, H, W] -> one map [N, C, ceil(H / stride), ceil(W / stride)] for each of ``out_levels``.

    ``drop_path`` is the rate of the last block; it grows linearly from 0 over all blocks. All parameters train.
    """

    def __init__(
        self,
        *,
        depths: Sequence[int],
        widths: Sequence[int],
        drop_path: float = 0.0,
        out_levels: Sequence[int] = (0, 1, 2, 3),
    ) -> None:
        super().__init__()
        self.out_levels = tuple(out_levels)
        self.last = max(self.out_levels)
        rates = np.linspace(0.0, drop_path, sum(depths))
        starts = np.cumsum([0, *depths])
        parts = [nn.SequentialCell(Shrink(3, widths[0], PATCH), ChannelNorm(widths[0], epsilon=EPSILON))]
        for stage in range(self.last + 1):
            if stage:
                norm = ChannelNorm(widths[stage - 1], epsilon=EPSILON)
                parts.append(nn.SequentialCell(norm, Shrink(widths[stage - 1], widths[stage], 2)))
            rates_of_stage = rates[starts[stage] : starts[stage + 1]]
            blocks = [ConvNeXtBlock(channels=widths[stage], drop_path=float(rate)) for rate in rates_of_stage]
            parts.append(nn.SequentialCell(blocks))
        self.features = nn.CellList(parts)
        norms = []
        for level in self.out_levels:
            norm = ChannelNorm(widths[level], epsilon=EPSILON)
            setattr(self, f"norm{level}", norm)
            norms.append(norm)
        self.norms = tuple(norms)
        self.channels = tuple(widths[level] for level in self.out_levels)
        self.strides = tuple(STAGE_STRIDES[level] for level in self.out_levels)

    def construct(self, frames: ms.Tensor) -> tuple[ms.Tensor, ...]:
        x = frames
        maps: tuple[ms.Tensor, ...] = ()
        for stage in range(self.last + 1):
            x = self.features[2 * stage + 1](self.features[2 * stage](x))
            if stage in self.out_levels:
                maps += (self.norms[len(maps)](x),)
        return maps


def _weights(*shape: int) -> ms.Tensor:
    return initializer(TruncatedNormal(_INIT_STD), shape)


def _depthwise(channels: int) -> DepthwiseConv2d:
    return DepthwiseConv2d(channels, KERNEL, weight_init=TruncatedNormal(_INIT_STD), bias_init="zeros")


def _dense(in_channels: int, out_channels: int) -> Linear:
    return Linear(in_channels, out_channels, weight_init=TruncatedNormal(_INIT_STD), bias_init="zeros")
