"""From pictures to the patch tokens of a vision transformer."""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import Uniform, initializer
from mindspore.ops import constexpr

from mindvideo.errors import UserError
from mindvideo.modules.layers.convolution import Convolution
from mindvideo.modules.layers.feed_forward import exact_gelu
from mindvideo.modules.layers.norm import GroupNorm
from mindvideo.ops.cubic import resize_table
from mindvideo.ops.slices import swapped


@constexpr
def grid_of(height: int, width: int, patch: int) -> tuple[int, int]:
    """Patches down and across a frame; UserError where they do not fill it."""
    if height < patch or width < patch:
        raise UserError(f"a frame of {height} x {width} is smaller than a patch of {patch} x {patch}: enlarge it")
    if height % patch or width % patch:
        up = f"{-(-height // patch) * patch} x {-(-width // patch) * patch}"
        raise UserError(f"a frame of {height} x {width} is no multiple of the patch size {patch}: pad it to {up}")
    return height // patch, width // patch


class PatchEmbedding(nn.Cell):
    """Every patch times one matrix, a convolution of kernel and stride p: [F, 3, H, W] -> [F, P, C]."""

    def __init__(self, *, width: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        bound = 1.0 / math.sqrt(3 * patch_size**2)
        self.weight = Parameter(initializer(Uniform(bound), (width, 3, patch_size, patch_size)), name="weight")
        self.bias = Parameter(initializer(Uniform(bound), (width,)), name="bias")
        self.linear = ops.MatMul(transpose_b=True)

    def construct(self, frames: ms.Tensor) -> ms.Tensor:
        F, _, H, W = frames.shape
        p, C = self.patch_size, self.bias.shape[0]
        rows, columns = grid_of(H, W, p)
        patches = frames.reshape(F, 3, rows, p, columns, p).transpose(0, 2, 4, 1, 3, 5)
        tokens = self.linear(patches.reshape(F * rows * columns, 3 * p * p), self.weight.reshape(C, 3 * p * p))
        return (tokens + self.bias).reshape(F, rows * columns, C)


class ConvolutionStem(nn.Cell):
    """3 x 3 convolutions of stride 2 in place of one large step, for learning from nothing: [F, 3, H, W] -> [F, P, C].

    There are log2(p) of them; all but the last are followed by a group norm and a GELU.
    """

    def __init__(self, *, width: int, patch_size: int, first_channels: int = 32) -> None:
        super().__init__()
        self.patch_size = patch_size
        steps = int(math.log2(patch_size))
        channels = [3, *(first_channels * 2**step for step in range(steps - 1)), width]
        self.convolutions = nn.CellList([Convolution(a, b, 3, stride=2) for a, b in zip(channels[:-1], channels[1:])])
        self.norms = nn.CellList([GroupNorm(8, c) for c in channels[1:-1]])
        self.bias = Parameter(initializer("zeros", (width,)), name="bias")

    def construct(self, frames: ms.Tensor) -> ms.Tensor:
        F, _, H, W = frames.shape
        rows, columns = grid_of(H, W, self.patch_size)
        maps = frames
        for number in range(len(self.norms)):  # a slice would be a list of its own, and name the parameters anew
            maps = exact_gelu(self.norms[number](self.convolutions[number](maps)))
        maps = self.convolutions[-1](maps)  # [F, C, rows, columns]
        return swapped(maps.reshape(F, -1, rows * columns), 1, 2) + self.bias


class PositionTable(nn.Cell):
    """A learnt code for every patch of a picture of one size, resampled for others: (rows, columns) -> [P, C]."""

    keeps_float32 = True

    def __init__(self, *, grid: tuple[int, int], width: int, start: np.ndarray | None = None) -> None:
        super().__init__()
        self.grid = grid
        values = initializer("normal", (grid[0] * grid[1], width)) if start is None else Tensor(start)
        self.weight = Parameter(values, name="weight")

    def construct(self, rows: int, columns: int) -> ms.Tensor:
        return resize_table(self.weight, self.grid, (rows, columns))


def sine_grid(rows: int, columns: int, width: int, temperature: float = 100.0) -> np.ndarray:
    """float32 [rows * columns, width]: sines and cosines of the places of cells, to start a learnt code from."""
    frequencies = temperature ** (-np.arange(width // 4) / max(width // 4, 1))
    y, x = ((np.arange(n) + 0.5) / n for n in (rows, columns))
    places = np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
    angles = 2.0 * math.pi * places[:, :, None] * frequencies  # [P, 2, width / 4]
    codes = np.concatenate([np.sin(angles), np.cos(angles)], -1).reshape(len(places), -1)
    return np.pad(codes, ((0, 0), (0, width - codes.shape[1]))).astype(np.float32)
