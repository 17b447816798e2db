"""From the backbone's maps to maps of one width, with coarser levels added by striding."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
from mindspore import nn
from mindspore.common.initializer import XavierUniform

from mindvideo.modules.layers.convolution import Conv2d
from mindvideo.modules.layers.norm import GroupNorm
from mindvideo.ops.masks import resize_padding

NORM_GROUPS = 32


class ProjectedLevel(nn.Cell):
    """A convolution to C channels (1 x 1, or 3 x 3 with stride 2) and a group norm: [F, C', H, W] -> [F, C, H', W']."""

    def __init__(self, *, channels_in: int, channels: int, strided: bool) -> None:
        super().__init__()
        self.convolution = Conv2d(
            channels_in,
            channels,
            kernel_size=3 if strided else 1,
            stride=2 if strided else 1,
            padding=1 if strided else 0,
            weight_init=XavierUniform(),
            bias_init="zeros",
        )
        self.norm = GroupNorm(NORM_GROUPS, channels)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.norm(self.convolution(x))


class FeatureProjection(nn.Cell):
    """One level for each map, then ``extra_levels`` more, each at half the size of the one before.

    The first extra level is made from the last map as the backbone gave it, the others from the level before.
    ``construct(maps: [F, C_l, H_l, W_l] each, padding bool [B, H, W])`` gives two tuples: features [F, C, H_l, W_l] and
    the padding at each level's size, bool [B, H_l, W_l].
    """

    def __init__(self, *, channels_of_maps: Sequence[int], channels: int, extra_levels: int) -> None:
        super().__init__()
        levels = [ProjectedLevel(channels_in=width, channels=channels, strided=False) for width in channels_of_maps]
        for extra in range(extra_levels):
            width = channels_of_maps[-1] if extra == 0 else channels
            levels.append(ProjectedLevel(channels_in=width, channels=channels, strided=True))
        self.levels = nn.CellList(levels)
        self.num_maps = len(channels_of_maps)

    def construct(
        self, maps: tuple[ms.Tensor, ...], padding: ms.Tensor
    ) -> tuple[tuple[ms.Tensor, ...], tuple[ms.Tensor, ...]]:
        features: tuple[ms.Tensor, ...] = ()
        paddings: tuple[ms.Tensor, ...] = ()
        for index, level in enumerate(self.levels):
            if index < self.num_maps:
                source = maps[index]
            elif index == self.num_maps:
                source = maps[-1]
            else:
                source = features[-1]
            feature = level(source)
            features += (feature,)
            paddings += (resize_padding(padding, *feature.shape[-2:]),)
        return features, paddings
