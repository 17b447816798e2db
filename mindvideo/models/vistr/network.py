"""VisTR: a clip as one sequence of tokens, and as many queries in each frame as a clip may hold instances.

Query q of every frame follows the same instance, so outputs are laid out as the targets are: [B, Q, T, ...] beside
[B, N, T, ...]. Inside the decoder the queries lie frame after frame: row = frame * Q + query.
"""

from __future__ import annotations

from typing import TypedDict

import mindspore as ms
from mindspore import nn

from mindvideo.modules.clip_tokens import (
    QueryTable,
    TokenProjection,
    Tokens,
    padding_of_grid,
    scene_of,
    sequence_of,
    states_by_query,
)
from mindvideo.modules.values import DecodedClip
from mindvideo.ops.slices import at


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

    def construct(self, frames: ms.Tensor, padding: ms.Tensor | None = None) -> tuple[ms.Tensor, ...]:
        clip = self.decode(frames, padding)
        if self.mask_branch is None:
            return clip["logits"], clip["boxes"]
        return clip["logits"], clip["boxes"], self.mask_branch(clip["queries"], clip["scene"])

    def decode(self, frames: ms.Tensor, padding: ms.Tensor | None = None) -> DecodedClip:
        """All but the masks."""
        maps = self.features(frames)
        return self.decode_maps(maps[self.num_fine_levels :], frames.shape[0], padding, self.fine_maps(maps))

    def features(self, frames: ms.Tensor) -> tuple[ms.Tensor, ...]:
        """The backbone's maps, fine to coarse, each [B*T, C', h, w]."""
        B, T, _, H, W = frames.shape
        return self.backbone(frames.reshape(B * T, 3, H, W))

    def fine_maps(self, maps: tuple[ms.Tensor, ...]) -> tuple[ms.Tensor, ...]:
        """Those of the backbone's maps that serve the masks only, coarse to fine."""
        return maps[: self.num_fine_levels][::-1] if self.num_fine_levels > 0 else ()

    def decode_maps(
        self,
        maps: tuple[ms.Tensor, ...],
        B: int,
        padding: ms.Tensor | None = None,
        fine_maps: tuple[ms.Tensor, ...] = (),
    ) -> DecodedClip:
        """As ``decode``, from those of the backbone's maps that become tokens."""
        trace = self.trace(maps, B, padding)
        return self.answer(trace["states"], trace["memory"], trace["tokens"]["padding"], maps[0], fine_maps)

    def trace(self, maps: tuple[ms.Tensor, ...], B: int, padding: ms.Tensor | None = None) -> Trace:
        """The transformer, with everything on the way by name."""
        tokens = self.tokenize(maps, B, padding)
        encoded = self.encoder.states(tokens["content"], tokens["position"], tokens["padding"])
        memory = self.encoder.collect(encoded)
        content, query_position = self.queries(B)
        decoded = self.decoder.states(content, query_position, memory, tokens["position"], tokens["padding"])
        states = self.decoder.collect(decoded)
        return {"tokens": tokens, "encoded": encoded, "memory": memory, "decoded": decoded, "states": states}

    def tokenize(self, maps: tuple[ms.Tensor, ...], B: int, padding: ms.Tensor | None = None) -> Tokens:
        x = self.token_projection(maps)  # [B*T, C, h, w]
        grid = padding_of_grid(padding, B, x)
        content, position = sequence_of(x, self.position(grid), self.position_in_tokens)
        token_padding = None if padding is None else grid.reshape(position.shape[:2])
        return {"content": content, "position": position, "padding": token_padding}

    def answer(
        self,
        states: ms.Tensor,
        memory: ms.Tensor,
        token_padding: ms.Tensor | None,
        grid_map: ms.Tensor,
        fine_maps: tuple[ms.Tensor, ...] = (),
    ) -> DecodedClip:
        """The heads over states [D, B, T*Q, C]; memory [B, S, C]; ``grid_map``: any map on the grid of the tokens."""
        states = states_by_query(states, grid_map.shape[0] // memory.shape[0])
        logits, boxes = self.head(states)
        scene = scene_of(memory, token_padding, grid_map, fine_maps)
        return {"logits": logits, "boxes": boxes, "queries": at(states, 0, -1), "scene": scene}
