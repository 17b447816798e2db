"""Deformable VisTR: tokens of a clip that each sample a few points in every frame.

The encoder takes each frame's maps as levels of deformable attention, and one more level of learned tokens, a row of
them for each instance slot. Outputs are laid out as VisTR's: [B, Q, T, ...] with Q slots in each of T frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import Normal, XavierUniform, initializer

from mindvideo.modules.slots.network import SlotNetwork
from mindvideo.modules.transformers.deformable_encoder import valid_ratio
from mindvideo.ops.masks import resize_padding


class SlotTokens(nn.Cell):
    """The learned tokens, ``tokens_per_slot`` for each slot, and the sine code of their grid."""

    def __init__(self, *, num_slots: int, tokens_per_slot: int, width: int, positions: nn.Cell) -> None:
        super().__init__()
        self.weight = Parameter(initializer(XavierUniform(), (num_slots * tokens_per_slot, width)), name="weight")
        self.positions = positions
        self.shape = (num_slots, tokens_per_slot)

    def construct(self, batch):
        """-> tokens [B,Q*J,C], positions [B,Q*J,C]"""
        rows, columns = self.shape
        count, width = self.weight.shape
        positions = self.positions(ops.zeros((1, rows, columns), ms.bool_)).reshape(1, count, width)
        size = (batch, count, width)
        return ops.broadcast_to(self.weight.expand_dims(0), size), ops.broadcast_to(positions, size)


class FrameTokens(nn.Cell):
    """Maps of the backbone -> tokens of a clip, frame after frame, the levels of a frame one after the other.

    One map (the published model) is projected by a 1x1 convolution; with several, each level has a learned code too.
    """

    def __init__(self, *, in_channels: Sequence[int], width: int, positions: nn.Cell) -> None:
        super().__init__()
        self.project = nn.CellList([nn.Conv2d(channels, width, 1, has_bias=True) for channels in in_channels])
        self.positions = positions
        self.level_embed = None
        if len(in_channels) > 1:
            self.level_embed = Parameter(initializer(Normal(1.0), (len(in_channels), width)), name="level_embed")

    def construct(self, maps, padding):
        """maps [B*T,C',h,w] fine to coarse, padding bool [B,T,H,W] -> tokens, positions [B,T*S,C], padding bool
        [B,T*S], valid ratios [B,T,levels,2]"""
        B, T = padding.shape[:2]
        tokens, positions, paddings, ratios = (), (), (), ()
        for level, project in enumerate(self.project):
            x = project(maps[level])
            _, C, h, w = x.shape
            level_padding = resize_padding(padding, h, w)  # [B, T, h, w]
            code = self.positions(level_padding)
            if self.level_embed is not None:
                code = code + self.level_embed[level]
            tokens += (x.reshape(B, T, C, h * w).swapaxes(2, 3),)
            positions += (code.reshape(B, T, h * w, C),)
            paddings += (level_padding.reshape(B, T, h * w),)
            ratios += (valid_ratio(level_padding.reshape(B * T, h, w)).reshape(B, T, 1, 2),)
        width = tokens[0].shape[-1]
        return (
            ops.cat(tokens, 2).reshape(B, -1, width),
            ops.cat(positions, 2).reshape(B, -1, width),
            ops.cat(paddings, 2).reshape(B, -1),
            ops.cat(ratios, 2),
        )


class DeformableVisTR(SlotNetwork):
    """``slot_tokens`` None: a model without the level of learned tokens."""

    def __init__(
        self,
        *,
        backbone: nn.Cell,
        frame_tokens: FrameTokens,
        slot_tokens: SlotTokens | None,
        encoder: nn.Cell,
        decoder: nn.Cell,
        mask_branch: nn.Cell,
        num_fine_levels: int,
    ) -> None:
        super().__init__(backbone=backbone, mask_branch=mask_branch, num_fine_levels=num_fine_levels)
        self.frame_tokens = frame_tokens
        self.slot_tokens = slot_tokens
        self.encoder = encoder
        self.decoder = decoder

    def level_shapes(self, coarse_maps, num_frames):
        """(H, W) of every level: the maps of each frame, then the grid of the slots' tokens."""
        of_frame = ()
        for x in coarse_maps:
            of_frame += ((x.shape[2], x.shape[3]),)
        shapes = of_frame * num_frames
        if self.slot_tokens is not None:
            shapes += (self.slot_tokens.shape,)
        return shapes

    def tokenize(self, coarse_maps, padding):
        """-> tokens, positions [B,S,C], padding bool [B,S], valid ratios [B,levels,2], slot tokens at the end"""
        B, T = padding.shape[:2]
        tokens, positions, token_padding, ratios = self.frame_tokens(coarse_maps, padding)
        ratios = ratios.reshape(B, -1, 2)
        if self.slot_tokens is not None:
            own, own_positions = self.slot_tokens(B)
            tokens, positions = ops.cat((tokens, own), 1), ops.cat((positions, own_positions), 1)
            token_padding = ops.cat((token_padding, ops.zeros((B, own.shape[1]), ms.bool_)), 1)
            ratios = ops.cat((ratios, ops.ones((B, 1, 2), ms.float32)), 1)
        return tokens, positions, token_padding, ratios

    def finest_memory(self, memory, token_padding, batch, num_frames, shapes):
        """The finest map of each frame out of the memory [B,S,C]: [B*T,C,h,w], and its padding [B*T,h,w]."""
        levels = len(self.frame_tokens.project)
        h, w = shapes[0]
        per_frame = 0
        for height, width in shapes[:levels]:
            per_frame += height * width
        C = memory.shape[2]
        maps = memory[:, : num_frames * per_frame].reshape(batch * num_frames, per_frame, C)[:, : h * w]
        padding = token_padding[:, : num_frames * per_frame].reshape(batch * num_frames, per_frame)[:, : h * w]
        return maps.swapaxes(1, 2).reshape(batch * num_frames, C, h, w), padding.reshape(-1, h, w)

    def slots(self, coarse_maps, batch, padding=None):
        """What there is to say without the fine maps, and what the mask branch needs besides them.

        coarse_maps: those from ``num_fine_levels`` on -> logits [L,B,Q,T,K], boxes [L,B,Q,T,4]; queries [B,T,Q,C],
        memory [B*T,C,h,w], padding bool [B*T,h,w]
        """
        frames, _, h, w = coarse_maps[0].shape
        T = frames // batch
        if padding is None:
            padding = ops.zeros((batch, T, h, w), ms.bool_)
        shapes = self.level_shapes(coarse_maps, T)
        tokens, positions, token_padding, ratios = self.tokenize(coarse_maps, padding)
        memory = self.encoder(tokens, positions, shapes, ratios, token_padding)  # [B, S, C]
        per_slot = 0 if self.slot_tokens is None else self.slot_tokens.shape[1]
        logits, boxes, hs = self.decoder(memory, positions, token_padding, (shapes, ratios, per_slot))
        map_memory, map_padding = self.finest_memory(memory, token_padding, batch, T, shapes)
        return logits, boxes, hs.swapaxes(1, 2), map_memory, map_padding
