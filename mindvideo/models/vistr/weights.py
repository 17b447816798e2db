"""The published names of VisTR: its own checkpoints, and the image model that its training starts from."""

from __future__ import annotations

from mindvideo.weights.backbone_rules import imagenet_table
from mindvideo.weights.dense_clip_rules import CLASS_HEAD, coco_table, image_rules, video_rules
from mindvideo.weights.rules import RuleTable


def vistr_tables(*, has_masks: bool, mask_head: str) -> list[RuleTable]:
    """VisTR's checkpoints (a box model's names have no prefix), the image model's, and an ImageNet backbone."""
    own_masks = mask_head != "attention"
    prefix = "vistr." if has_masks else ""
    published = RuleTable("published", (*image_rules(prefix), *video_rules(prefix)), class_heads=(CLASS_HEAD,))
    coco = [coco_table(prefix, own_masks=own_masks) for prefix in ("detr.", "vistr.")]
    return [published, *coco, imagenet_table("backbone.")]
