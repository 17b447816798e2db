"""Masks from dot products: a query's embedding with the embedding of every pixel of its frame."""

from __future__ import annotations

import math
from collections.abc import Sequence

import mindspore as ms
from mindspore import Parameter, nn, ops

from mindvideo.modules.layers.convolution import Conv2d
from mindvideo.modules.layers.mlp import MLP
from mindvideo.modules.layers.norm import GroupNorm
from mindvideo.modules.values import Scene
from mindvideo.ops.masks import join_nearest
from mindvideo.ops.slices import at, swapped

_products = ops.BatchMatMul()

GROUPS = 8


class PixelEmbedding(nn.Cell):
    """The scene of F frames -> an embedding of each pixel of the finest map, [F, E, H, W].

    The memory is projected and joined with one finer map after the other (``fine_channels``, coarse to fine).
    """

    def __init__(self, *, width: int, fine_channels: Sequence[int], channels: int):
        super().__init__()
        groups = math.gcd(channels, GROUPS)
        self.project = Conv2d(width, channels, 1)
        self.lateral = nn.CellList([Conv2d(c, channels, 1) for c in fine_channels])
        self.smooth = nn.CellList([Conv2d(channels, channels, 3, padding=1) for _ in fine_channels])
        self.norm = nn.CellList([GroupNorm(groups, channels, relu=True) for _ in fine_channels])
        self.out = Conv2d(channels, channels, 1)

    def construct(self, scene: Scene) -> ms.Tensor:
        x = self.project(scene["memory"])
        for index, fine in enumerate(scene["fine_maps"]):
            fine = self.lateral[index](fine)
            x = join_nearest(x, fine)
            x = self.norm[index](self.smooth[index](x))
        return self.out(x)


class DotProductMaskHead(nn.Cell):
    """queries [B, Q, T, C] and their scene -> mask logits [B, Q, T, H, W], at the stride of the finest map.

    A mask costs one product of E numbers a pixel, where the attention head runs convolutions for each mask; in return
    frames do not see each other, and a mask knows of its query only what the embedding says.
    """

    def __init__(self, *, pixels: PixelEmbedding, width: int, channels: int):
        super().__init__()
        self.pixels = pixels
        self.query_embed = MLP(in_width=width, hidden=width, out_width=channels, num_layers=3)
        self.scale = channels**-0.5

    def construct(self, queries: ms.Tensor, scene: Scene) -> ms.Tensor:
        B, Q, T, C = queries.shape
        maps = self.per_frame(swapped(queries, 1, 2).reshape(B * T, Q, C), scene)
        H, W = maps.shape[-2:]
        return swapped(maps.reshape(B, T, Q, H, W), 1, 2)

    def per_frame(self, queries: ms.Tensor, scene: Scene) -> ms.Tensor:
        """queries [F, Q, C] of F frames, and the scene of those -> maps [F, Q, 1, H, W]"""
        pixels = self.pixels(scene)
        F, E, H, W = pixels.shape
        logits = _products(self.query_embed(queries) * self.scale, pixels.reshape(F, E, H * W))
        return logits.reshape(F, queries.shape[1], 1, H, W)

    def per_query(self, maps: ms.Tensor) -> ms.Tensor:
        """maps [G, T, 1, H, W] of G queries -> mask logits [G, T, H, W]"""
        return at(maps, 2, 0)

    def weights_along_time(self) -> tuple[Parameter, ...]:
        """Those of ``per_query``: it has none."""
        return ()


def build_dot_product_mask_head(*, width: int, fine_channels: Sequence[int], channels: int) -> DotProductMaskHead:
    """``fine_channels``: of the maps that are finer than the tokens, fine to coarse; ``channels`` 0: width / 4."""
    channels = channels or width // 4
    pixels = PixelEmbedding(width=width, fine_channels=fine_channels[::-1], channels=channels)
    return DotProductMaskHead(pixels=pixels, width=width, channels=channels)
