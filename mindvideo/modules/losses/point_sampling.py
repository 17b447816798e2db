"""Masks compared at points instead of at every pixel: reading maps at points, and choosing the points.

Points are (x, y) in units of the map: (0, 0) is its upper left corner and (1, 1) the lower right one. Maps are read
bilinearly between the centres of their cells, and are 0 outside.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.ops import constexpr

from mindvideo.modules.layers.draws import UniformDraws
from mindvideo.ops.slices import at, part


def sample_channels(maps: ms.Tensor, points: ms.Tensor) -> ms.Tensor:
    """All channels at the same points: maps [R, h, w, C], points [R, P, 2] -> float [R, P, C]."""
    R, h, w, C = maps.shape
    table = maps.reshape(R * h * w, C)
    sampled = ms.Tensor(0.0, ms.float32)
    for row, weight in corners(points, R, h, w):
        sampled = sampled + ops.cast(ops.gather(table, row, 0), ms.float32) * weight.expand_dims(-1)
    return sampled


def sample_maps(maps: ms.Tensor, points: ms.Tensor) -> ms.Tensor:
    """Each map at points of its own: maps [R, h, w] of any type, points [R, P, 2] -> float [R, P]."""
    R, h, w = maps.shape
    table = maps.reshape(R * h * w)
    sampled = ms.Tensor(0.0, ms.float32)
    for row, weight in corners(points, R, h, w):
        sampled = sampled + ops.cast(ops.gather(table, row, 0), ms.float32) * weight
    return sampled


def corners(points: ms.Tensor, R: int, h: int, w: int) -> tuple[tuple[ms.Tensor, ms.Tensor], ...]:
    """The four cells around each point, as rows of the R maps one after the other, and how much each counts.

    No gradient reaches the points.
    """
    points = ops.stop_gradient(points)
    x, y = at(points, -1, 0) * w - 0.5, at(points, -1, 1) * h - 0.5
    x0, y0 = ops.floor(x), ops.floor(y)
    right, below = x - x0, y - y0
    first = first_cells(R, h * w)
    found: tuple[tuple[ms.Tensor, ms.Tensor], ...] = ()
    for down in range(2):
        for across in range(2):
            row, column = y0 + down, x0 + across
            inside = (row >= 0).logical_and(row < h).logical_and(column >= 0).logical_and(column < w)
            weight = (
                (below if down else 1.0 - below) * (right if across else 1.0 - right) * ops.cast(inside, ms.float32)
            )
            row, column = ops.clamp(row, 0.0, h - 1.0), ops.clamp(column, 0.0, w - 1.0)
            found += ((first + ops.cast(row * w + column, ms.int32), weight),)
    return found


@constexpr
def first_cells(R: int, cells: int) -> ms.Tensor:
    """int32 [R, 1]: where each of R maps begins in their table."""
    return ms.Tensor(np.arange(R, dtype=np.int32)[:, None] * cells)


class MaskPoints(nn.Cell):
    """Where masks are compared: P points drawn anew at every step, the same for all clips and instances of a batch.

    :meth:`uniform` gives those of the matching. :meth:`uncertain` gives those of the losses: three quarters of them are
    where the mask is least sure of itself, among three times as many candidates, and the rest are anywhere.
    """

    def __init__(self, *, num_points: int, candidates: int = 3, uncertain_share: float = 0.75) -> None:
        super().__init__()
        self.num_points, self.num_candidates = num_points, candidates * num_points
        self.num_uncertain = int(uncertain_share * num_points)
        self.matching, self.losses = UniformDraws(), UniformDraws()

    def uniform(self, num_stages: int, B: int, T: int) -> ms.Tensor:
        """[D, B, T, P, 2]."""
        shape = (num_stages, T, self.num_points)
        points = self.matching(num_stages * T * self.num_points, 2).reshape(shape[0], 1, *shape[1:], 2)
        return points.broadcast_to((num_stages, B, T, self.num_points, 2))

    def uncertain(self, maps: ms.Tensor, stage: int) -> ms.Tensor:
        """Mask logits [R, h, w] of one stage -> points [R, P, 2]."""
        R = maps.shape[0]
        drawn = self.losses(self.num_candidates + self.num_points - self.num_uncertain, 2, stage)
        drawn = drawn.expand_dims(0).broadcast_to((R, *drawn.shape))
        return self.choose(maps, part(drawn, 1, 0, self.num_candidates), part(drawn, 1, self.num_candidates))

    def choose(self, maps: ms.Tensor, candidates: ms.Tensor, rest: ms.Tensor) -> ms.Tensor:
        """The least certain of the candidates [R, 3 P, 2], and the rest [R, ..., 2]."""
        certainty = ops.abs(sample_maps(ops.stop_gradient(maps), candidates))
        _, chosen = ops.topk(-certainty, self.num_uncertain, dim=-1)
        chosen = ops.cast(chosen, ms.int32).expand_dims(-1).broadcast_to((*chosen.shape, 2))
        return ops.cat((ops.gather_elements(candidates, 1, chosen), rest), 1)


def cross_entropy_per_mask(logits: ms.Tensor, target: ms.Tensor) -> ms.Tensor:
    """Logits and targets 0..1 [..., P] -> [...]: the mean binary cross-entropy."""
    return (softplus(logits) - logits * target).mean(axis=-1)


def softplus(x: ms.Tensor) -> ms.Tensor:
    """log(1 + exp(x)), exact for large x."""
    return ops.relu(x) + ops.log1p(ops.exp(-ops.abs(x)))
