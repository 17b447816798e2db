"""Rotary position codes of the patches of a picture (DINOv3): queries and keys are turned by where their patch lies."""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.ops import constexpr

from mindvideo.modules.layers.draws import UniformDraws
from mindvideo.ops.slices import part

LOG_2 = math.log(2.0)
Rotation = tuple[ms.Tensor, ms.Tensor]  # cosine and sine, [S, depth] each


@constexpr
def _angles(prefix: int, rows: int, columns: int, depth: int, temperature: float) -> Tensor:
    """float32 [prefix + rows * columns, depth]; the tokens before the patches are not turned."""
    frequencies = temperature ** (-4.0 * np.arange(depth // 4) / depth)
    y = 2.0 * (np.arange(rows) + 0.5) / rows - 1.0
    x = 2.0 * (np.arange(columns) + 0.5) / columns - 1.0
    patches = np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
    turns = (patches[:, :, None] * frequencies).reshape(rows * columns, -1)  # [P, depth / 2], y first
    angles = 2.0 * math.pi * np.concatenate([turns, turns], 1)
    return Tensor(np.concatenate([np.zeros((prefix, depth)), angles]).astype(np.float32))


class RotaryPositions(nn.Cell):
    """``construct(prefix, rows, columns, zoom)`` gives cosine and sine, [S, depth] each, S = prefix + rows * columns.

    ``zoom`` [] multiplies the coordinates; :meth:`zoom` draws it anew in every training step, between 1/2 and 2.
    """

    def __init__(self, *, depth: int, temperature: float = 100.0) -> None:
        super().__init__()
        if depth % 4:
            raise ValueError(f"rotary codes of two axes need a head width that is a multiple of 4, got {depth}")
        self.depth, self.temperature = depth, temperature
        self.draws = UniformDraws()

    def zoom(self) -> ms.Tensor:
        if not self.training:
            return Tensor(1.0, ms.float32)
        return ops.exp((2.0 * self.draws(1, 1).reshape(()) - 1.0) * LOG_2)

    def construct(self, prefix: int, rows: int, columns: int, zoom: ms.Tensor) -> Rotation:
        angles = _angles(prefix, rows, columns, self.depth, self.temperature) * zoom
        return ops.cos(angles), ops.sin(angles)


def turn(x: ms.Tensor, cosine: ms.Tensor, sine: ms.Tensor) -> ms.Tensor:
    """x [B, M, S, d], cosine and sine [S, d]: channel i and i + d/2 are turned together."""
    half = x.shape[-1] // 2
    turned = ops.cat((-part(x, -1, half), part(x, -1, 0, half)), -1)
    return x * cosine + turned * sine
