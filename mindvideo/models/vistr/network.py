"""VisTR: a clip as one sequence of tokens, N slots a frame as one sequence of queries.

Outputs keep the slots and the frames apart: [B, Q, T, ...] with Q slots in each of T frames, the order of the targets
[B, N, T, ...]. Inside, the decoder's queries lie frame after frame: query = frame * Q + slot.
"""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import Normal, initializer

from mindvideo.modules.heads.attention_mask import MaskBranch
from mindvideo.modules.slots.network import SlotNetwork
from mindvideo.ops.masks import resize_nearest, resize_padding


class TokenProjection(nn.Cell):
    """Maps of the backbone, fine to coarse, -> one map of ``width`` channels on the grid of the finest of them.

    The published models project the coarsest map alone; coarser ones besides the finest are upsampled and added.
    """

    def __init__(self, *, in_channels: Sequence[int], width: int):
        super().__init__()
        self.project = nn.CellList([nn.Conv2d(c, width, 1, has_bias=True) for c in in_channels])

    def construct(self, maps):
        x = self.project[0](maps[0])
        for index in range(1, len(maps)):
            coarse = self.project[index](maps[index])
            x = x + resize_nearest(coarse, x.shape[2], x.shape[3])
        return x


class SlotQueries(nn.Cell):
    """The learned table of queries, frame after frame: -> positions and start content, both [B, T*Q, C].

    Decoding starts from zeros, or with ``content_from_queries`` from the table itself.
    """

    def __init__(
        self, *, num_frames: int, num_slots: int, width: int, content_from_queries: bool, start: np.ndarray | None
    ):
        super().__init__()
        init = Normal(1.0) if start is None else ms.Tensor(start.reshape(num_frames * num_slots, width))
        self.weight = Parameter(initializer(init, (num_frames * num_slots, width)), name="weight")
        self.content_from_queries = content_from_queries

    def construct(self, batch):
        positions = ops.broadcast_to(self.weight.expand_dims(0), (batch, *self.weight.shape))
        if self.content_from_queries:
            return positions, positions
        return positions, ops.zeros(positions.shape, positions.dtype)


class VisTR(SlotNetwork):
    """The network of the paper; masks come at stride 4.

    ``positions_in_tokens`` adds the position code to the tokens themselves.
    """

    def __init__(
        self,
        *,
        backbone: nn.Cell,
        token_projection: TokenProjection,
        positions: nn.Cell,
        encoder: nn.Cell,
        decoder: nn.Cell,
        queries: SlotQueries,
        head: nn.Cell,
        mask_branch: MaskBranch | None = None,
        num_fine_levels: int = 0,
        positions_in_tokens: bool = False,
    ):
        super().__init__(backbone=backbone, mask_branch=mask_branch, num_fine_levels=num_fine_levels)
        self.token_projection = token_projection
        self.positions = positions
        self.encoder = encoder
        self.decoder = decoder
        self.queries = queries
        self.head = head
        self.positions_in_tokens = positions_in_tokens

    def tokenize(self, coarse_maps, batch, padding):
        """Maps -> tokens [B,S,C], positions [B,S,C], padding bool [B,S] or None; token = (frame, y, x)."""
        x = self.token_projection(coarse_maps)
        frames, C, h, w = x.shape
        T = frames // batch
        grid_padding = ops.zeros((batch, T, h, w), ms.bool_) if padding is None else resize_padding(padding, h, w)
        positions = self.positions(grid_padding).reshape(batch, T * h * w, C)
        tokens = x.reshape(batch, T, C, h * w).swapaxes(2, 3).reshape(batch, T * h * w, C)
        if self.positions_in_tokens:
            tokens = tokens + positions
        if padding is None:
            return tokens, positions, None
        return tokens, positions, grid_padding.reshape(batch, T * h * w)

    def slots(self, coarse_maps, batch, padding=None):
        """What there is to say without the fine maps, and what the mask branch needs besides them.

        coarse_maps: those from ``num_fine_levels`` on -> logits [L,B,Q,T,K], boxes [L,B,Q,T,4]; queries [B,T,Q,C],
        memory [B*T,C,h,w], padding bool [B*T,h,w] or None
        """
        tokens, positions, token_padding = self.tokenize(coarse_maps, batch, padding)
        memory = self.encoder(tokens, positions, token_padding)  # [B, S, C]
        query_positions, content = self.queries(batch)
        hs = self.decoder(content, query_positions, memory, positions, token_padding)  # [L, B, T*Q, C]
        return self.answers(hs, memory, coarse_maps[0], batch, token_padding)

    def answers(self, hs, memory, coarse_map, batch, token_padding):
        """The heads over hs [L,B,T*Q,C], and queries, memory [B,S,C] and padding in the shapes of ``slots``."""
        frames, _, h, w = coarse_map.shape
        T = frames // batch
        L, _, queries, C = hs.shape
        hs = hs.reshape(L, batch, T, queries // T, C)
        logits, boxes = self.head(hs)
        memory = memory.reshape(frames, h * w, C).swapaxes(1, 2).reshape(frames, C, h, w)
        map_padding = None if token_padding is None else token_padding.reshape(frames, h, w)
        return logits.swapaxes(2, 3), boxes.swapaxes(2, 3), hs[-1], memory, map_padding
