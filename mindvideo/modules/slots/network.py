"""What the networks of the slot families share: maps of the backbone, what the slots say, masks."""

from __future__ import annotations

from mindspore import nn


class SlotNetwork(nn.Cell):
    """frames [B,T,3,H,W], padding bool [B,T,H,W] or None -> what every slot says.

    class logits [L,B,Q,T,K] and boxes [L,B,Q,T,4] of every decoder layer (the last one counts); with a mask branch
    also mask logits [B,Q,T,h,w] of the last layer. ``num_fine_levels`` of the backbone's maps are finer than the
    tokens and serve the masks alone. A family defines ``slots``.
    """

    def __init__(self, *, backbone: nn.Cell, mask_branch: nn.Cell | None, num_fine_levels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.mask_branch = mask_branch
        self.num_fine_levels = num_fine_levels

    def features(self, frames):
        """[B,T,3,H,W] -> the backbone's maps fine to coarse, each [B*T,C,h,w]"""
        B, T, C, H, W = frames.shape
        return self.backbone(frames.reshape(B * T, C, H, W))

    def before_masks(self, frames, padding=None):
        """-> logits, boxes, queries [B,T,Q,C], and the scene: what ``masks`` takes besides queries."""
        maps = self.features(frames)
        coarse_maps = maps[self.num_fine_levels :]
        logits, boxes, queries, memory, map_padding = self.slots(coarse_maps, frames.shape[0], padding)
        return logits, boxes, queries, (memory, maps, map_padding)

    def masks(self, queries, scene):
        """Any queries [B,T,Q,C] of the clip -> mask logits [B,Q,T,h,w]"""
        memory, maps, map_padding = scene
        return self.mask_branch(queries, memory, maps[: self.num_fine_levels][::-1], map_padding)

    def construct(self, frames, padding=None):
        logits, boxes, queries, scene = self.before_masks(frames, padding)
        if self.mask_branch is None:
            return logits, boxes
        return logits, boxes, self.masks(queries, scene)
