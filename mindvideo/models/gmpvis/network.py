"""GMP-VIS: a clip as one sequence of tokens, decoded into queries, and each query's node in a graph of instances.

Query q of every frame follows the same instance, so outputs are laid out as the targets are: [B, Q, T, ...]. Two clips
of a video are joined by matching the graphs of their nodes, see modules/matching/graph_matching.py.
"""

from __future__ import annotations

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


class DecodedNodes(DecodedClip):
    """A clip before its masks, with the nodes of its queries."""

    nodes: ms.Tensor  # [B, Q, T, C'], see GMPVIS


class GMPVIS(nn.Cell):
    """frames [B, T, 3, H, W], padding bool [B, T, H, W] or None -> logits, boxes, masks as in :class:`Predictions`,
    nodes [B, Q, T, C'], and with ``second_classes`` further class logits [B, Q, T, K].

    Backbone, encoder and decoder are those of a dense clip model: every token of the clip attends to every other, and
    each query's state becomes a class, a box and a mask in its frame. A query's node in a frame is the embedding of the
    mean of its states in all decoder layers. ``graph_matcher`` matches the nodes of two clips; it takes no part in
    ``construct``. ``second_classes`` reads a class from the shape of each mask.
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
        mask_branch: nn.Cell,
        num_fine_levels: int,
        position_in_tokens: bool,
        node_embedding: nn.Cell,
        graph_matcher: nn.Cell,
        second_classes: nn.Cell | None = None,
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
        self.node_embedding = node_embedding
        self.graph_matcher = graph_matcher
        self.second_classes = second_classes

    def construct(self, frames: ms.Tensor, padding: ms.Tensor | None = None) -> tuple[ms.Tensor, ...]:
        clip = self.decode(frames, padding)
        masks = self.mask_branch(clip["queries"], clip["scene"])
        if self.second_classes is None:
            return clip["logits"], clip["boxes"], masks, clip["nodes"]
        return clip["logits"], clip["boxes"], masks, clip["nodes"], self.second_classes(masks)

    def decode(self, frames: ms.Tensor, padding: ms.Tensor | None = None) -> DecodedNodes:
        """All but the masks."""
        maps = self.features(frames)
        fine_maps = maps[: self.num_fine_levels][::-1]  # those that serve the masks only, coarse to fine
        return self.decode_maps(maps[self.num_fine_levels :], frames.shape[0], padding, fine_maps)

    def features(self, frames: ms.Tensor) -> tuple[ms.Tensor, ...]:
        """The backbone's maps, fine to coarse, each [B*T, C', h, w]."""
        B, T, _, H, W = frames.shape
        return self.backbone(frames.reshape(B * T, 3, H, W))

    def decode_maps(
        self,
        maps: tuple[ms.Tensor, ...],
        B: int,
        padding: ms.Tensor | None = None,
        fine_maps: tuple[ms.Tensor, ...] = (),
    ) -> DecodedNodes:
        """As ``decode``, from those of the backbone's maps that become tokens."""
        tokens = self.tokenize(maps, B, padding)
        memory = self.encoder(tokens["content"], tokens["position"], tokens["padding"])
        content, query_position = self.queries(B)
        states = self.decoder(content, query_position, memory, tokens["position"], tokens["padding"])
        return self.answer(states, memory, tokens["padding"], maps[0], fine_maps)

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
    ) -> DecodedNodes:
        """The heads over states [D, B, T*Q, C]; memory [B, S, C]; ``grid_map``: any map on the grid of the tokens."""
        states = states_by_query(states, grid_map.shape[0] // memory.shape[0])  # [D, B, Q, T, C]
        logits, boxes = self.head(states)
        return {
            "logits": logits,
            "boxes": boxes,
            "queries": at(states, 0, -1),
            "scene": scene_of(memory, token_padding, grid_map, fine_maps),
            "nodes": self.node_embedding(states.mean(axis=0)),
        }
