"""Deformable VisTR: tokens of a clip that each sample a few points in every frame.

The encoder takes each frame's maps as levels of deformable attention, and one more level of learned tokens, a row of
them for each query. Outputs are laid out as the targets are: [B, Q, T, ...] beside [B, N, T, ...].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import mindspore as ms
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import Normal, XavierUniform, initializer

from mindvideo.modules.layers.convolution import Conv2d
from mindvideo.modules.transformers.clip_decoder import FrameLevels
from mindvideo.modules.transformers.deformable_encoder import valid_ratio
from mindvideo.modules.values import DecodedClip, Scene
from mindvideo.ops.masks import resize_padding
from mindvideo.ops.slices import swapped


class Tokens(TypedDict):
    """The clip as a sequence: frame after frame, the levels of a frame one after the other, the queries' own last."""

    content: ms.Tensor  # [B, S, C]
    position: ms.Tensor  # [B, S, C]
    padding: ms.Tensor  # bool [B, S]
    valid_ratios: ms.Tensor  # [B, L, 2], the part of each level that holds the picture


class Trace(TypedDict):
    """The values between the backbone's maps and the decoder."""

    tokens: Tokens
    levels: FrameLevels
    memory: ms.Tensor  # [B, S, C]


class DeformableVisTR(nn.Cell):
    """frames [B, T, 3, H, W], padding bool [B, T, H, W] or None -> logits, boxes and masks as in :class:`Predictions`.

    The backbone sees each frame by itself. In the encoder every token samples a few points in each frame and among the
    queries' own tokens; the decoder makes a state of each query in each frame, and from it class and box, and
    ``mask_branch`` a mask on the finest map's grid. Of the backbone's maps the ``num_fine_levels`` finest serve the
    masks only. ``query_tokens`` None: a model without the level of learned tokens.
    """

    def __init__(
        self,
        *,
        backbone: nn.Cell,
        frame_tokens: FrameTokens,
        query_tokens: QueryTokens | None,
        encoder: nn.Cell,
        decoder: nn.Cell,
        mask_branch: nn.Cell,
        num_fine_levels: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.frame_tokens = frame_tokens
        self.query_tokens = query_tokens
        self.encoder = encoder
        self.decoder = decoder
        self.mask_branch = mask_branch
        self.num_fine_levels = num_fine_levels

    def construct(self, frames: ms.Tensor, padding: ms.Tensor | None = None) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        clip = self.decode(frames, padding)
        return clip["logits"], clip["boxes"], self.mask_branch(clip["queries"], clip["scene"])

    def decode(self, frames: ms.Tensor, padding: ms.Tensor | None = None) -> DecodedClip:
        """All but the masks."""
        maps = self.features(frames)
        fine_maps = maps[: self.num_fine_levels][::-1]  # coarse to fine
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
    ) -> DecodedClip:
        """As ``decode``, from those of the backbone's maps that become tokens."""
        trace = self.trace(maps, B, padding)
        tokens, memory = trace["tokens"], trace["memory"]
        clip = self.decoder(memory, tokens["position"], tokens["padding"], trace["levels"])
        scene = self.scene(memory, tokens["padding"], maps, fine_maps)
        return {"logits": clip["logits"], "boxes": clip["boxes"], "queries": clip["states"], "scene": scene}

    def trace(self, maps: tuple[ms.Tensor, ...], B: int, padding: ms.Tensor | None = None) -> Trace:
        """The encoder, with everything on the way by name."""
        F, _, h, w = maps[0].shape
        padding = ops.zeros((B, F // B, h, w), ms.bool_) if padding is None else padding
        tokens = self.tokenize(maps, padding)
        shapes = self.level_shapes(maps, F // B)
        memory = self.encoder(tokens["content"], tokens["position"], shapes, tokens["valid_ratios"], tokens["padding"])
        tokens_per_query = 0 if self.query_tokens is None else self.query_tokens.shape[1]
        levels: FrameLevels = {
            "shapes": shapes,
            "valid_ratios": tokens["valid_ratios"],
            "tokens_per_query": tokens_per_query,
        }
        return {"tokens": tokens, "levels": levels, "memory": memory}

    def tokenize(self, maps: tuple[ms.Tensor, ...], padding: ms.Tensor) -> Tokens:
        tokens = self.frame_tokens(maps, padding)
        if self.query_tokens is None:
            return tokens
        B = padding.shape[0]
        own, own_position = self.query_tokens(B)
        return {
            "content": ops.cat((tokens["content"], own), 1),
            "position": ops.cat((tokens["position"], own_position), 1),
            "padding": ops.cat((tokens["padding"], ops.zeros((B, own.shape[1]), ms.bool_)), 1),
            "valid_ratios": ops.cat((tokens["valid_ratios"], ops.ones((B, 1, 2), ms.float32)), 1),
        }

    def level_shapes(self, maps: tuple[ms.Tensor, ...], T: int) -> tuple[tuple[int, int], ...]:
        """(h, w) of every level: the maps of each frame, then the grid of the queries' tokens."""
        of_frame: tuple[tuple[int, int], ...] = ()
        for x in maps:
            of_frame += ((x.shape[2], x.shape[3]),)
        shapes = of_frame * T
        return shapes if self.query_tokens is None else (*shapes, self.query_tokens.shape)

    def scene(
        self, memory: ms.Tensor, padding: ms.Tensor, maps: tuple[ms.Tensor, ...], fine_maps: tuple[ms.Tensor, ...]
    ) -> Scene:
        """The finest level of each frame out of the memory [B, S, C], and its padding."""
        F, _, h, w = maps[0].shape
        B, _, C = memory.shape
        tokens_of_frame = 0
        for x in maps:
            tokens_of_frame += x.shape[2] * x.shape[3]
        tokens_of_clip = F // B * tokens_of_frame
        finest = memory[:, :tokens_of_clip].reshape(F, tokens_of_frame, C)[:, : h * w]
        padding = padding[:, :tokens_of_clip].reshape(F, tokens_of_frame)[:, : h * w]
        finest = swapped(finest, 1, 2).reshape(F, C, h, w)
        return {"memory": finest, "fine_maps": fine_maps, "padding": padding.reshape(F, h, w)}


class FrameTokens(nn.Cell):
    """Maps of the backbone -> tokens of a clip, frame after frame, the levels of a frame one after the other.

    One map (the published model) is projected by a 1x1 convolution; with several, each level has a learned code too.
    """

    def __init__(self, *, in_channels: Sequence[int], width: int, position: nn.Cell) -> None:
        super().__init__()
        self.project = nn.CellList([Conv2d(channels, width, 1) for channels in in_channels])
        self.position = position
        self.level_embed = None
        if len(in_channels) > 1:
            self.level_embed = Parameter(initializer(Normal(1.0), (len(in_channels), width)), name="level_embed")

    def construct(self, maps: tuple[ms.Tensor, ...], padding: ms.Tensor) -> Tokens:
        """maps [B*T, C', h, w] fine to coarse, padding bool [B, T, H, W] -> :class:`Tokens`"""
        B, T = padding.shape[:2]
        contents: tuple[ms.Tensor, ...] = ()
        positions: tuple[ms.Tensor, ...] = ()
        paddings: tuple[ms.Tensor, ...] = ()
        ratios: tuple[ms.Tensor, ...] = ()
        for level, project in enumerate(self.project):
            x = project(maps[level])
            _, C, h, w = x.shape
            level_padding = resize_padding(padding, h, w)  # [B, T, h, w]
            code = self.position(level_padding)
            if self.level_embed is not None:
                code = code + self.level_embed[level]
            contents += (swapped(x.reshape(B, T, C, h * w), 2, 3),)
            positions += (code.reshape(B, T, h * w, C),)
            paddings += (level_padding.reshape(B, T, h * w),)
            ratios += (valid_ratio(level_padding.reshape(B * T, h, w)).reshape(B, T, 1, 2),)
        C = contents[0].shape[-1]
        return {
            "content": ops.cat(contents, 2).reshape(B, -1, C),
            "position": ops.cat(positions, 2).reshape(B, -1, C),
            "padding": ops.cat(paddings, 2).reshape(B, -1),
            "valid_ratios": ops.cat(ratios, 2).reshape(B, -1, 2),
        }


class QueryTokens(nn.Cell):
    """The learned tokens, ``tokens_per_query`` for each query, and the sine code of their grid."""

    def __init__(self, *, num_queries: int, tokens_per_query: int, width: int, position: nn.Cell) -> None:
        super().__init__()
        shape = (num_queries * tokens_per_query, width)
        self.weight = Parameter(initializer(XavierUniform(), shape), name="weight")
        self.position = position
        self.shape = (num_queries, tokens_per_query)

    def construct(self, B: int) -> tuple[ms.Tensor, ms.Tensor]:
        """-> content and position [B, Q*J, C] with J tokens a query"""
        rows, columns = self.shape
        count, width = self.weight.shape
        position = self.position(ops.zeros((1, rows, columns), ms.bool_)).reshape(1, count, width)
        size = (B, count, width)
        return ops.broadcast_to(self.weight.expand_dims(0), size), ops.broadcast_to(position, size)
