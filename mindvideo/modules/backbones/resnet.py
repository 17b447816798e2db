"""ResNet and ResNeXt (the form with the stride in the 3x3 convolution), and small ones for training from scratch.

Parameter names are torchvision's: ``conv1.weight``, ``bn1.running_mean``, ``layer2.0.downsample.0.weight`` ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import mindspore as ms
from mindspore import nn

from mindvideo.modules.layers.convolution import Convolution
from mindvideo.modules.layers.frozen_norm import FrozenBatchNorm
from mindvideo.modules.layers.pooling import MaxPool2d

NormFactory = Callable[[int], nn.Cell]
STAGES = 4


class BasicBlock(nn.Cell):
    """3x3 (stride) - norm - ReLU - 3x3 - norm, plus the shortcut, ReLU."""

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        norm: NormFactory,
        stride: int = 1,
        dilation: int = 1,
        trainable: bool = True,
    ) -> None:
        super().__init__()
        self.conv1 = Convolution(in_channels, width, 3, stride=stride, dilation=dilation, trainable=trainable)
        self.bn1 = norm(width)
        self.conv2 = Convolution(width, width, 3, dilation=dilation, trainable=trainable)
        self.bn2 = norm(width)
        self.downsample = shortcut(in_channels, width, stride, norm, trainable)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """x [N, C, H, W] -> [N, C', H', W']."""
        y = self.bn1.after(self.conv1, x, relu=True)
        if self.downsample is not None:
            x = self.downsample[1].after(self.downsample[0], x)
        return self.bn2.after(self.conv2, y, residual=x, relu=True)


class Bottleneck(nn.Cell):
    """1x1 - 3x3 (stride, groups) - 1x1, each with a norm, plus the shortcut, ReLU."""

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        norm: NormFactory,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        width_per_group: int = 64,
        trainable: bool = True,
    ) -> None:
        super().__init__()
        inner = int(width * (width_per_group / 64.0)) * groups
        out_channels = width * self.expansion
        self.conv1 = Convolution(in_channels, inner, 1, trainable=trainable)
        self.bn1 = norm(inner)
        self.conv2 = Convolution(inner, inner, 3, stride=stride, dilation=dilation, groups=groups, trainable=trainable)
        self.bn2 = norm(inner)
        self.conv3 = Convolution(inner, out_channels, 1, trainable=trainable)
        self.bn3 = norm(out_channels)
        self.downsample = shortcut(in_channels, out_channels, stride, norm, trainable)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """x [N, C, H, W] -> [N, 4 * width, H', W']."""
        y = self.bn1.after(self.conv1, x, relu=True)
        y = self.bn2.after(self.conv2, y, relu=True)
        if self.downsample is not None:
            x = self.downsample[1].after(self.downsample[0], x)
        return self.bn3.after(self.conv3, y, residual=x, relu=True)


def stage_strides(*, stem_pool: bool = True, dilate_last: bool = False) -> tuple[int, ...]:
    """Pixels from one cell of a stage's map to the next."""
    first = 4 if stem_pool else 2
    return first, 2 * first, 4 * first, (4 if dilate_last else 8) * first


class ResNet(nn.Cell):
    """Stem and four stages; returns the maps of the stages in ``out_levels``.

    ``channels`` and ``strides`` describe the returned maps. With ``stem_pool`` the stages have strides 4, 8, 16, 32,
    without it 2, 4, 8, 16. ``trainable_stages`` counts from the end: 3 trains the convolutions of layer2 to layer4,
    5 all of them; whether norms train is the norm's own matter. ``dilate_last`` gives the last stage dilation 2
    instead of a stride. ``block_options`` are further arguments of every block (the groups of a ResNeXt).
    """

    def __init__(
        self,
        *,
        block: type[nn.Cell],
        depths: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        stem_width: int = 64,
        stem_kernel: int = 7,
        stem_pool: bool = True,
        block_options: Mapping[str, int] = MappingProxyType({}),
        norm: NormFactory = FrozenBatchNorm,
        dilate_last: bool = False,
        out_levels: Sequence[int] = (0, 1, 2, 3),
        trainable_stages: int = 3,
    ) -> None:
        super().__init__()
        self.out_levels = _checked_levels(out_levels)
        self.conv1 = Convolution(3, stem_width, stem_kernel, stride=2, trainable=trainable_stages > STAGES)
        self.bn1 = norm(stem_width)
        self.stem_pool = MaxPool2d(3, stride=2, padding=1) if stem_pool else None
        in_channels, channels = stem_width, []
        for stage in range(STAGES):
            dilated = dilate_last and stage == STAGES - 1
            step = 1 if stage == 0 or dilated else 2
            blocks = []
            for index in range(depths[stage]):
                blocks.append(
                    block(
                        in_channels,
                        widths[stage],
                        norm=norm,
                        stride=step if index == 0 else 1,
                        dilation=2 if dilated and index > 0 else 1,
                        trainable=stage >= STAGES - trainable_stages,
                        **block_options,
                    )
                )
                in_channels = widths[stage] * block.expansion
            setattr(self, f"layer{stage + 1}", nn.SequentialCell(blocks))
            channels.append(in_channels)
        self.channels = tuple(channels[level] for level in self.out_levels)
        strides = stage_strides(stem_pool=stem_pool, dilate_last=dilate_last)
        self.strides = tuple(strides[level] for level in self.out_levels)

    def construct(self, frames: ms.Tensor) -> tuple[ms.Tensor, ...]:
        """frames [N, 3, H, W] -> one map [N, C, ceil(H / stride), ceil(W / stride)] for each of ``out_levels``."""
        x = self.bn1.after(self.conv1, frames, relu=True)
        if self.stem_pool is not None:
            x = self.stem_pool(x)
        maps: tuple[ms.Tensor, ...] = ()
        for level, stage in enumerate((self.layer1, self.layer2, self.layer3, self.layer4)):
            x = stage(x)
            if level in self.out_levels:
                maps = (*maps, x)
        return maps


def shortcut(
    in_channels: int, out_channels: int, stride: int, norm: NormFactory, trainable: bool
) -> nn.CellList | None:
    """The projection of a block that changes the size or the width, [convolution, norm]; None for the identity."""
    if stride == 1 and in_channels == out_channels:
        return None
    conv = Convolution(in_channels, out_channels, 1, stride=stride, trainable=trainable)
    return nn.CellList([conv, norm(out_channels)])


def _checked_levels(out_levels: Sequence[int]) -> tuple[int, ...]:
    levels = tuple(out_levels)
    if not levels or list(levels) != sorted(set(levels)) or not set(levels) <= set(range(STAGES)):
        raise ValueError(f"out_levels must be an increasing choice of 0..{STAGES - 1}, got {levels}")
    return levels
