"""VidEoMT: a plain vision transformer that segments and tracks, with queries among its tokens.

A frame goes through the first blocks by itself. Queries then join the tokens for the last blocks, and what they have
become is handed to the next frame, so that a query keeps its instance: there is no tracker, decoder or pixel decoder.
"""

from __future__ import annotations

from typing import TypedDict

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import Normal, initializer

from mindvideo.modules.backbones.vit import VisionTransformer
from mindvideo.modules.heads.upscaled_mask import GeluMLP, UpscaleBlock
from mindvideo.modules.layers.linear import Linear
from mindvideo.modules.layers.patches import grid_of
from mindvideo.modules.layers.rotary import Rotation
from mindvideo.ops.slices import at, part, swapped


class Trace(TypedDict):
    """Everything between the pixels and the predictions; B clips, T frames, S tokens of a frame."""

    embeddings: Tensor  # [B, T, S, C]
    frame_blocks: tuple  # [B, T, S, C] after each block that sees only a frame
    query_in: Tensor  # [B, T, Q, C]
    query_blocks: tuple  # [B, T, Q + S, C] after each block that sees queries
    normed: Tensor  # [B, T, Q + S, C]
    mask_vectors: Tensor  # [B, T, Q, C]
    features: tuple  # [B, T, h, w, C] after each doubling
    logits: Tensor  # [D, B, Q, T, K + 1]
    masks: Tensor  # [B, Q, T, h, w]
    next_query: Tensor  # [B, Q, C], what the frame after the last one would start from


class VidEoMT(nn.Cell):
    """The last ``num_query_blocks`` of the backbone's blocks see the queries.

    ``norm_queries``: queries are handed on, and auxiliary predictions made, after the backbone's final norm.
    """

    def __init__(
        self,
        *,
        backbone: VisionTransformer,
        upscale: list[UpscaleBlock],
        num_query_blocks: int,
        num_queries: int,
        num_classes: int,
        norm_queries: bool = False,
        start_queries: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        C = backbone.width
        self.backbone = backbone
        self.first_query_block, self.num_blocks = len(backbone.layers) - num_query_blocks, len(backbone.layers)
        self.num_queries, self.num_classes, self.norm_queries = num_queries, num_classes, norm_queries
        values = initializer(Normal(1.0), (num_queries, C)) if start_queries is None else Tensor(start_queries)
        self.query = Parameter(values, name="query")
        self.query_updater = Linear(C, C)
        self.class_head = Linear(C, num_classes + 1)
        self.mask_head = GeluMLP(width=C)
        self.upscale = nn.CellList(upscale)

    def construct(self, frames: ms.Tensor, padding: ms.Tensor | None = None) -> tuple[ms.Tensor, None, ms.Tensor]:  # noqa: ARG002
        """frames [B, T, 3, H, W] -> logits, boxes (None) and masks as in :class:`Predictions`.

        D predictions: one before each query block but the last, and the final one.

        ``padding`` is not used: padded pixels are patches like others, as the published models learned.
        """
        stages, _ = self.follow(frames, self.first_query(frames.shape[0]))  # D times [B, T, Q + S, C]
        logits = self.classify(stages)  # [D, B, Q, T, K + 1]
        vectors = self.mask_head(self.queries_of(stages[-1]))  # [B, T, Q, C]
        features = self.features(stages[-1], frames.shape[-2:])[-1]  # [B, T, h, w, C]
        return logits, None, swapped(self.masks(vectors, features), 1, 2)

    def first_query(self, B: int) -> ms.Tensor:
        """The entry to the query blocks of a video's first frame: the learnt queries, [B, Q, C]."""
        return self.query.expand_dims(0).broadcast_to((B, *self.query.shape))

    def follow(self, frames: ms.Tensor, query: ms.Tensor) -> tuple[tuple[ms.Tensor, ...], ms.Tensor]:
        """The tokens that each of the D predictions is made from, [B, T, Q + S, C], and the next frame's queries."""
        blocks, _, rotation = self.encode(frames)
        around, query = self.decode(blocks[-1], rotation, query)
        return self.stages(around), query

    def encode(self, frames: ms.Tensor) -> tuple[tuple[ms.Tensor, ...], ms.Tensor, Rotation | None]:
        """Frames by themselves: tokens [B, T, S, C] after each block, embeddings, the rotation of query blocks."""
        B, T, _, H, W = frames.shape
        grid, zoom = grid_of(H, W, self.backbone.patch_size), self.backbone.zoom()
        embeddings = self.backbone.embed(frames.reshape(B * T, 3, H, W))
        alone = self.backbone.rotation(0, grid, zoom)
        blocks: tuple[ms.Tensor, ...] = ()
        for tokens in self.backbone.blocks(embeddings, alone, 0, self.first_query_block):
            blocks += (tokens.reshape(B, T, *tokens.shape[1:]),)
        rotation = self.query_rotation(H, W)
        return blocks, embeddings.reshape(B, T, *embeddings.shape[1:]), rotation

    def query_rotation(self, H: int, W: int) -> Rotation | None:
        """The rotation of the blocks that see queries, for frames of that size; None without rotary positions."""
        grid = grid_of(H, W, self.backbone.patch_size)
        return self.backbone.rotation(self.num_queries, grid, self.backbone.zoom())

    def decode(
        self, tokens: ms.Tensor, rotation: Rotation | None, query: ms.Tensor
    ) -> tuple[tuple[ms.Tensor, ...], ms.Tensor]:
        """Frame after frame, queries [B, Q, C] in front of the tokens [B, T, S, C].

        Gives what enters the first query block and what leaves each of them, nb + 1 times [B, T, Q + S, C], and the
        queries for the next frame.
        """
        of_frames = []
        for t in range(tokens.shape[1]):
            joined = ops.cat((query, at(tokens, 1, t)), 1)
            outputs = self.backbone.blocks(joined, rotation, self.first_query_block, self.num_blocks)
            of_frames.append((joined, *outputs))
            query = self.propagate(outputs[-1])
        around: tuple[ms.Tensor, ...] = ()
        for block in range(self.num_blocks - self.first_query_block + 1):
            around += (ops.stack([frame[block] for frame in of_frames], 1),)
        return around, query

    def propagate(self, tokens: ms.Tensor) -> ms.Tensor:
        """Tokens after the last block, [B, Q + S, C] -> the next frame's queries [B, Q, C]."""
        query = part(tokens, 1, 0, self.num_queries)
        if self.norm_queries:
            query = self.backbone.norm(query)
        return self.query_updater(query) + self.query

    def stages(self, around: tuple[ms.Tensor, ...]) -> tuple[ms.Tensor, ...]:
        """Tokens around the query blocks -> the D tokens to predict from; what enters the last block is left out."""
        used: tuple[ms.Tensor, ...] = ()
        for block in range(self.num_blocks - self.first_query_block - 1):
            tokens = around[block]
            used += (self.backbone.norm(tokens) if self.norm_queries else tokens,)
        return (*used, self.backbone.norm(around[-1]))

    def queries_of(self, tokens: ms.Tensor) -> ms.Tensor:
        """[B, T, Q + S, C] -> [B, T, Q, C]."""
        return part(tokens, 2, 0, self.num_queries)

    def classify(self, stages: tuple[ms.Tensor, ...]) -> ms.Tensor:
        """[D, B, Q, T, K + 1]."""
        logits: tuple[ms.Tensor, ...] = ()
        for tokens in stages:
            logits += (swapped(self.class_head(self.queries_of(tokens)), 1, 2),)
        return ops.stack(logits, 0)

    def features(self, tokens: ms.Tensor, size: tuple[int, int]) -> tuple[ms.Tensor, ...]:
        """The patch tokens as maps [B, T, h, w, C], each twice as fine as the one before; ``size`` of the frames."""
        B, T, _, C = tokens.shape
        rows, columns = grid_of(size[0], size[1], self.backbone.patch_size)
        patches = part(tokens, 2, self.num_queries + self.backbone.num_prefix)
        maps = patches.reshape(B * T, rows, columns, C)
        finer: tuple[ms.Tensor, ...] = ()
        for block in self.upscale:
            maps = block(maps)
            finer += (maps.reshape(B, T, *maps.shape[1:]),)
        return finer

    def masks(self, vectors: ms.Tensor, features: ms.Tensor) -> ms.Tensor:
        """vectors [B, T, N, C], features [B, T, h, w, C] -> logits [B, T, N, h, w]."""
        B, T, h, w, C = features.shape
        logits = ops.matmul(vectors, swapped(features.reshape(B, T, h * w, C), 2, 3))
        return logits.reshape(B, T, vectors.shape[2], h, w)

    def trace(self, frames: ms.Tensor, query: ms.Tensor) -> Trace:
        """The same pass with everything between; for tests and for looking inside."""
        blocks, embeddings, rotation = self.encode(frames)
        around, query = self.decode(blocks[-1], rotation, query)
        stages = self.stages(around)
        vectors = self.mask_head(self.queries_of(stages[-1]))
        features = self.features(stages[-1], frames.shape[-2:])
        masks = swapped(self.masks(vectors, features[-1]), 1, 2)  # [B, Q, T, h, w]
        return {
            "embeddings": embeddings,
            "frame_blocks": blocks,
            "query_in": self.queries_of(around[0]),
            "query_blocks": around[1:],
            "normed": stages[-1],
            "mask_vectors": vectors,
            "features": features,
            "logits": self.classify(stages),
            "masks": masks,
            "next_query": query,
        }
