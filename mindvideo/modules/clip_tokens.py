"""A clip as one sequence of tokens, and its queries frame after frame: what networks of that kind are made of.

Outside the transformer a query comes before its frames: [B, Q, T, ...]. Inside the decoder the queries lie frame after
frame: row = frame * Q + query.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import mindspore as ms
import numpy as np
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import Normal, initializer

from mindvideo.modules.layers.convolution import Conv2d
from mindvideo.modules.values import Scene
from mindvideo.ops.masks import join_nearest, resize_padding
from mindvideo.ops.slices import swapped


class Tokens(TypedDict):
    """The clip as a sequence; token = (frame, y, x)."""

    content: ms.Tensor  # [B, S, C], S = T*h*w
    position: ms.Tensor  # [B, S, C]
    padding: ms.Tensor | None  # bool [B, S]


class TokenProjection(nn.Cell):
    """Maps of the backbone, fine to coarse, -> one map [F, width, h, w] on the grid of the finest of them.

    The published models project the coarsest map only; coarser ones besides the finest are upsampled and added.
    """

    def __init__(self, *, in_channels: Sequence[int], width: int):
        super().__init__()
        self.project = nn.CellList([Conv2d(c, width, 1) for c in in_channels])

    def construct(self, maps: tuple[ms.Tensor, ...]) -> ms.Tensor:
        x = self.project[0](maps[0])
        for index in range(1, len(maps)):
            coarse = self.project[index](maps[index])
            x = join_nearest(coarse, x)
        return x


class QueryTable(nn.Cell):
    """The learned table of queries, frame after frame -> start content and query position, both [B, T*Q, C].

    Decoding starts from zeros, or with ``content_from_queries`` from the table itself.
    """

    def __init__(
        self, *, num_frames: int, num_queries: int, width: int, content_from_queries: bool, start: np.ndarray | None
    ):
        super().__init__()
        shape = (num_frames * num_queries, width)
        init = Normal(1.0) if start is None else ms.Tensor(start.reshape(shape))
        self.weight = Parameter(initializer(init, shape), name="weight")
        self.content_from_queries = content_from_queries

    def construct(self, B: int) -> tuple[ms.Tensor, ms.Tensor]:
        position = ops.broadcast_to(self.weight.expand_dims(0), (B, *self.weight.shape))
        if self.content_from_queries:
            return position, position
        return ops.zeros(position.shape, position.dtype), position


def padding_of_grid(padding: ms.Tensor | None, B: int, maps: ms.Tensor) -> ms.Tensor:
    """Padding bool [B, T, H, W] or None, on the grid of maps [B*T, C, h, w] -> bool [B, T, h, w]."""
    F, _, h, w = maps.shape
    return ops.zeros((B, F // B, h, w), ms.bool_) if padding is None else resize_padding(padding, h, w)


def sequence_of(maps: ms.Tensor, position: ms.Tensor, add_position: bool) -> tuple[ms.Tensor, ms.Tensor]:
    """Maps [B*T, C, h, w] and their position code [B, T, h, w, C] -> content and position [B, S, C], S = T*h*w.

    ``add_position``: the content holds the position code as well.
    """
    F, C, h, w = maps.shape
    B = position.shape[0]
    position = position.reshape(B, -1, C)
    content = swapped(maps.reshape(B, F // B, C, h * w), 2, 3).reshape(position.shape)
    return content + position if add_position else content, position


def states_by_query(states: ms.Tensor, T: int) -> ms.Tensor:
    """[D, B, T*Q, C] -> [D, B, Q, T, C]."""
    D, B, rows, C = states.shape
    return swapped(states.reshape(D, B, T, rows // T, C), 2, 3)


def scene_of(
    memory: ms.Tensor, token_padding: ms.Tensor | None, grid_map: ms.Tensor, fine_maps: tuple[ms.Tensor, ...]
) -> Scene:
    """Memory [B, S, C], padding bool [B, S] or None; ``grid_map``: any map [B*T, C', h, w] on the tokens' grid."""
    F, _, h, w = grid_map.shape
    C = memory.shape[2]
    memory = swapped(memory.reshape(F, h * w, C), 1, 2).reshape(F, C, h, w)
    padding = None if token_padding is None else token_padding.reshape(F, h, w)
    return {"memory": memory, "fine_maps": fine_maps, "padding": padding}
