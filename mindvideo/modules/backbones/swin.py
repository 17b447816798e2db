"""Swin Transformer in its detection form: four normalised maps, any input size.

Parameter names are those of the authors' code: ``patch_embed.proj.weight``, ``layers.2.blocks.5.attn.qkv.bias`` ...
"""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.common.initializer import Normal

from mindvideo.modules.layers.convolution import Conv2d
from mindvideo.modules.layers.dropout import DropPath
from mindvideo.modules.layers.feed_forward import exact_gelu
from mindvideo.modules.layers.linear import Linear
from mindvideo.modules.layers.norm import LayerNorm
from mindvideo.modules.layers.window_attention import (
    WindowAttention,
    cells_apart,
    join_windows,
    pad_right_and_bottom,
    roll,
    split_windows,
)

STAGES = 4
PATCH = 4
STAGE_STRIDES = tuple(PATCH * 2**stage for stage in range(STAGES))
MLP_RATIO = 4
# The authors truncate at +-2, a hundred times the deviation: a normal distribution for all purposes.
_INIT_STD = 0.02


class PatchEmbed(nn.Cell):
    """frames [N, 3, H, W] -> [N, ceil(H/4), ceil(W/4), C]: a 4x4 convolution of stride 4, then LayerNorm."""

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.proj = Conv2d(3, channels, PATCH, stride=PATCH)
        self.norm = LayerNorm(channels)

    def construct(self, frames: ms.Tensor) -> ms.Tensor:
        N, _, H, W = frames.shape
        right, below = -W % PATCH, -H % PATCH
        if right:
            frames = ops.concat((frames, ops.zeros((N, 3, H, right), frames.dtype)), 3)
        if below:
            frames = ops.concat((frames, ops.zeros((N, 3, below, W + right), frames.dtype)), 2)
        return self.norm(self.proj(frames).transpose(0, 2, 3, 1))


class PatchMerging(nn.Cell):
    """x [N, H, W, C] -> [N, ceil(H/2), ceil(W/2), 2C]: the four cells of a 2x2 square, normalised and projected."""

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.norm = LayerNorm(4 * channels)
        self.reduction = _dense(4 * channels, 2 * channels, has_bias=False)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        N, H, W, C = x.shape
        x = pad_right_and_bottom(x, H + H % 2, W + W % 2)
        x = x.reshape(N, (H + 1) // 2, 2, (W + 1) // 2, 2, C)
        # (row, column) offsets (0, 0), (1, 0), (0, 1), (1, 1), in this order.
        x = x.transpose(0, 1, 3, 4, 2, 5).reshape(N, (H + 1) // 2, (W + 1) // 2, 4 * C)
        return self.reduction(self.norm(x))


class FeedForward(nn.Cell):
    """Dense - GELU (the exact form) - Dense."""

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.fc1 = _dense(channels, MLP_RATIO * channels)
        self.fc2 = _dense(MLP_RATIO * channels, channels)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        x = self.fc1(x)
        return self.fc2(exact_gelu(x))


class SwinBlock(nn.Cell):
    """Attention in windows, shifted by half a window in every second block, then an MLP; both residual."""

    def __init__(self, *, channels: int, heads: int, window: int, shift: int, drop_path: float) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = LayerNorm(channels)
        self.attn = WindowAttention(channels=channels, heads=heads, window=window)
        self.drop_path = DropPath(drop_path)
        self.norm2 = LayerNorm(channels)
        self.mlp = FeedForward(channels=channels)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """x [N, H, W, C] -> the same shape."""
        _, H, W, _ = x.shape
        height, width = H + -H % self.window, W + -W % self.window
        # The cells of the padding are zeros after the norm, and they do take part as keys.
        y = pad_right_and_bottom(self.norm1(x), height, width)
        apart = None
        if self.shift:
            y = roll(y, self.shift)
            apart = cells_apart(height, width, self.window, self.shift)
        y = join_windows(self.attn(split_windows(y, self.window), apart), self.window, height, width)
        if self.shift:
            y = roll(y, -self.shift)
        x = x + self.drop_path(y[:, :H, :W], 0)
        return x + self.drop_path(self.mlp(self.norm2(x)), 1)


class SwinStage(nn.Cell):
    """The blocks of one resolution, and the merging that leads to the next."""

    def __init__(self, *, channels: int, heads: int, window: int, drop_paths: Sequence[float], merges: bool) -> None:
        super().__init__()
        self.blocks = nn.CellList(
            [
                SwinBlock(
                    channels=channels,
                    heads=heads,
                    window=window,
                    shift=(index % 2) * (window // 2),
                    drop_path=float(drop_path),
                )
                for index, drop_path in enumerate(drop_paths)
            ]
        )
        self.downsample = PatchMerging(channels=channels) if merges else None

    def construct(self, x: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        """x [N, H, W, C] -> (the stage's own map, the next stage's input)."""
        for block in self.blocks:
            x = block(x)
        if self.downsample is None:
            return x, x
        return x, self.downsample(x)


class Swin(nn.Cell):
    """Four stages at strides 4, 8, 16, 32; each map in ``out_levels`` is normalised before it is returned.

    ``drop_path`` is the rate of the last block; it grows linearly from 0 over all blocks. All parameters train.
    """

    def __init__(
        self,
        *,
        embed: int,
        depths: Sequence[int],
        heads: Sequence[int],
        window: int,
        drop_path: float = 0.0,
        out_levels: Sequence[int] = (0, 1, 2, 3),
    ) -> None:
        super().__init__()
        self.out_levels = tuple(out_levels)
        widths = [embed * 2**stage for stage in range(STAGES)]
        self.patch_embed = PatchEmbed(channels=embed)
        rates = np.linspace(0.0, drop_path, sum(depths))
        starts = np.cumsum([0, *depths])
        self.layers = nn.CellList(
            [
                SwinStage(
                    channels=widths[stage],
                    heads=heads[stage],
                    window=window,
                    drop_paths=rates[starts[stage] : starts[stage + 1]].tolist(),
                    merges=stage < STAGES - 1,
                )
                for stage in range(STAGES)
            ]
        )
        self.norm0, self.norm1, self.norm2, self.norm3 = (LayerNorm(width) for width in widths)
        self.channels = tuple(widths[level] for level in self.out_levels)
        self.strides = tuple(STAGE_STRIDES[level] for level in self.out_levels)

    def construct(self, frames: ms.Tensor) -> tuple[ms.Tensor, ...]:
        """frames [N, 3, H, W] -> one map [N, C, ceil(H / stride), ceil(W / stride)] for each of ``out_levels``."""
        x = self.patch_embed(frames)
        norms = (self.norm0, self.norm1, self.norm2, self.norm3)
        maps: tuple[ms.Tensor, ...] = ()
        for level in range(STAGES):
            own, x = self.layers[level](x)
            if level in self.out_levels:
                maps = (*maps, norms[level](own).transpose(0, 3, 1, 2))
        return maps


def _dense(in_channels: int, out_channels: int, *, has_bias: bool = True) -> Linear:
    init = Normal(_INIT_STD)
    return Linear(in_channels, out_channels, weight_init=init, bias_init="zeros", has_bias=has_bias)
