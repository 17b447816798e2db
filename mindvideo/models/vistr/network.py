"""VisTR: a clip as one sequence of tokens, and as many queries in each frame as a clip may hold instances.

Query q of every frame follows the same instance, so outputs are laid out as the targets are: [B, Q, T, ...] beside
[B, N, T, ...]. Inside the decoder the queries lie frame after frame: row = frame * Q + query.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import mindspore as ms
import numpy as np
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import Normal, initializer

from mindvideo.modules.values import DecodedClip
from mindvideo.ops.masks import resize_nearest, resize_padding


class Tokens(TypedDict):
    """The clip as a sequence; token = (frame, y, x)."""

    content: ms.Tensor  # [B, S, C], S = T*h*w
    position: ms.Tensor  # [B, S, C]
    padding: ms.Tensor | None  # bool [B, S]


class Trace(TypedDict):
    """The values between the backbone's maps and the heads."""

    tokens: Tokens
    encoded: tuple[ms.Tensor, ...]  # what each encoder layer gives, [B, S, C]
    memory: ms.Tensor  # [B, S, C]
    decoded: tuple[ms.Tensor, ...]  # what each decoder layer gives, [B, T*Q, C]
    states: ms.Tensor  # the same after the decoder's norm, [D, B, T*Q, C]


class VisTR(nn.Cell):
    """frames [B, T, 3, H, W], padding bool [B, T, H, W] or None -> logits, boxes and masks as in :class:`Predictions`.

    A model without masks gives no masks.

    The backbone sees each frame by itself. The encoder lets every token of the clip attend to every other, the decoder
    lets the queries attend to each other and to all tokens, and each query's state becomes a class, a box and, by
    ``mask_branch``, a mask in its frame, on the finest map's grid. Of the backbone's maps the ``num_fine_levels``
    finest serve the masks only. ``position_in_tokens`` adds the position code to the tokens themselves.
    """

    def __init__(
        self,
        *,
        backbone: nn.Cell,
        token_projection: TokenProjection,
        position: nn.Cell,
        encoder: nn.Cell,
        decoder: nn.Cell,
        queries: QueryTable,
        head: nn.Cell,
        mask_branch: nn.Cell | None = None,
        num_fine_levels: int = 0,
        position_in_tokens: bool = False,
    ):
        super().__init__()
        self.backbone = backbone
        self.token_projection = token_projection
        self.position = position
        self.encoder = encoder
        self.decoder = decoder
        self.queries = queries
        self.head = head
        self.mask_branch = mask_branch
        self.num_fine_levels = num_fine_levels
        self.position_in_tokens = position_in_tokens

    def construct(self, frames, padding=None):
        clip = self.decode(frames, padding)
        if self.mask_branch is None:
            return clip["logits"], clip["boxes"]
        return clip["logits"], clip["boxes"], self.mask_branch(clip["queries"], clip["scene"])

    def decode(self, frames, padding=None) -> DecodedClip:
        """All but the masks."""
        maps = self.features(frames)
        return self.decode_maps(maps[self.num_fine_levels :], frames.shape[0], padding, self.fine_maps(maps))

    def features(self, frames):
        """The backbone's maps, fine to coarse, each [B*T, C', h, w]."""
        B, T, _, H, W = frames.shape
        return self.backbone(frames.reshape(B * T, 3, H, W))

    def fine_maps(self, maps):
        """Those of the backbone's maps that serve the masks only, coarse to fine."""
        return maps[: self.num_fine_levels][::-1] if self.num_fine_levels > 0 else ()

    def decode_maps(self, maps, B, padding=None, fine_maps=()) -> DecodedClip:
        """As ``decode``, from those of the backbone's maps that become tokens."""
        trace = self.trace(maps, B, padding)
        return self.answer(trace["states"], trace["memory"], trace["tokens"]["padding"], maps[0], fine_maps)

    def trace(self, maps, B, padding=None) -> Trace:
        """The transformer, with everything on the way by name."""
        tokens = self.tokenize(maps, B, padding)
        encoded = self.encoder.states(tokens["content"], tokens["position"], tokens["padding"])
        memory = self.encoder.collect(encoded)
        content, query_position = self.queries(B)
        decoded = self.decoder.states(content, query_position, memory, tokens["position"], tokens["padding"])
        states = self.decoder.collect(decoded)
        return {"tokens": tokens, "encoded": encoded, "memory": memory, "decoded": decoded, "states": states}

    def tokenize(self, maps, B, padding=None) -> Tokens:
        x = self.token_projection(maps)  # [B*T, C, h, w]
        F, C, h, w = x.shape
        T = F // B
        grid_padding = ops.zeros((B, T, h, w), ms.bool_) if padding is None else resize_padding(padding, h, w)
        position = self.position(grid_padding).reshape(B, T * h * w, C)
        content = x.reshape(B, T, C, h * w).swapaxes(2, 3).reshape(B, T * h * w, C)
        if self.position_in_tokens:
            content = content + position
        token_padding = None if padding is None else grid_padding.reshape(B, T * h * w)
        return {"content": content, "position": position, "padding": token_padding}

    def answer(self, states, memory, token_padding, grid_map, fine_maps=()) -> DecodedClip:
        """The heads over states [D, B, T*Q, C]; memory [B, S, C]; ``grid_map``: any map on the grid of the tokens."""
        F, _, h, w = grid_map.shape
        D, B, rows, C = states.shape
        T = F // B
        states = states.reshape(D, B, T, rows // T, C).swapaxes(2, 3)  # [D, B, Q, T, C]
        logits, boxes = self.head(states)
        memory = memory.reshape(F, h * w, C).swapaxes(1, 2).reshape(F, C, h, w)
        padding = None if token_padding is None else token_padding.reshape(F, h, w)
        scene = {"memory": memory, "fine_maps": fine_maps, "padding": padding}
        return {"logits": logits, "boxes": boxes, "queries": states[-1], "scene": scene}


class TokenProjection(nn.Cell):
    """Maps of the backbone, fine to coarse, -> one map [F, width, h, w] on the grid of the finest of them.

    The published models project the coarsest map only; coarser ones besides the finest are upsampled and added.
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

    def construct(self, B):
        position = ops.broadcast_to(self.weight.expand_dims(0), (B, *self.weight.shape))
        if self.content_from_queries:
            return position, position
        return ops.zeros(position.shape, position.dtype), position
