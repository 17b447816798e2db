"""The published names of VisTR: its own checkpoints, and the image model that its training starts from."""

from __future__ import annotations

import re

import numpy as np

from mindvideo.convert.backbone_rules import backbone_rules, imagenet_table
from mindvideo.convert.rules import Rule, RuleTable

FRAME_HEAD = "mask_branch.frame_head."
SEQUENCE_HEAD = "mask_branch.sequence_head."
CLASS_HEAD = r"head\.class_embed\..*"


def image_rules(prefix: str) -> list[Rule]:
    """What the image model has as well; ``prefix`` is "vistr.", "detr." or none."""
    p = re.escape(prefix)
    return [
        *backbone_rules(f"{prefix}backbone.0.body.", "backbone."),
        Rule(p + r"input_proj\.(.*)", r"token_projection.project.0.\1"),
        Rule(p + r"transformer\.(encoder|decoder)\.layers\.(\d+)\.(linear\d)\.(.*)", r"\1.layers.\2.ffn.\3.\4"),
        Rule(p + r"transformer\.(encoder|decoder)\.layers\.(\d+)\.((?!linear|ffn).*)", r"\1.layers.\2.\3"),
        Rule(p + r"transformer\.(encoder|decoder)\.norm\.(.*)", r"\1.norm.\2"),
        Rule(p + r"(bbox_embed)\.(.*)", r"head.\1.\2"),
        *mask_rules(),
    ]


def mask_rules() -> list[Rule]:
    """The mask head of one frame, which the image model has as well."""
    rules = [
        Rule(r"bbox_attention\.(.*)", r"mask_branch.attention_map.\1"),
        Rule(r"mask_head\.((?:lay1|gn1)\..*)", FRAME_HEAD + r"\1"),
        Rule(r"mask_head\.gn5\.(.*)", FRAME_HEAD + r"gn_out.\1"),
    ]
    for index in range(3):
        rules += [
            Rule(rf"mask_head\.lay{index + 2}\.(.*)", FRAME_HEAD + rf"lay.{index}.\1"),
            Rule(rf"mask_head\.gn{index + 2}\.(.*)", FRAME_HEAD + rf"gn.{index}.\1"),
            Rule(rf"mask_head\.adapter{index + 1}\.(.*)", FRAME_HEAD + rf"adapter.{index}.\1"),
        ]
    return rules


def video_rules(prefix: str) -> list[Rule]:
    """What the clip model alone has: classes, queries, the deformable convolution, the sequence head."""
    p = re.escape(prefix)
    return [
        Rule(p + r"(class_embed)\.(.*)", r"head.\1.\2"),
        Rule(p + r"query_embed\.weight", r"queries.weight"),
        *sequence_mask_rules(),
    ]


def sequence_mask_rules() -> list[Rule]:
    """What turns an image's mask head into a clip's: the deformable convolution and the sequence head."""
    rules = [
        Rule(r"mask_head\.((?:conv_offset|dcn)\..*)", FRAME_HEAD + r"\1"),
        Rule(r"insmask_head\.9\.weight", SEQUENCE_HEAD + "out.weight", transform=drop_depth, inverse=add_depth),
        Rule(r"insmask_head\.9\.(bias)", SEQUENCE_HEAD + r"out.\1"),
    ]
    for index in range(3):
        rules += [
            Rule(rf"insmask_head\.{3 * index}\.(.*)", SEQUENCE_HEAD + rf"conv.{index}.\1"),
            Rule(rf"insmask_head\.{3 * index + 1}\.(.*)", SEQUENCE_HEAD + rf"gn.{index}.\1"),
        ]
    return rules


def drop_depth(kernel: np.ndarray) -> np.ndarray:
    """A 1x1x1 kernel as a 1x1 one."""
    return kernel[:, :, 0]


def add_depth(kernel: np.ndarray) -> np.ndarray:
    return kernel[:, :, None]


def coco_table(prefix: str) -> RuleTable:
    """The image model's file under its own names, or already renamed for the clip model."""
    replaced = [
        Rule(re.escape(prefix) + r"(?:class_embed\..*|query_embed\.weight)", None),
        Rule(r"mask_head\.(?:lay5|out_lay)\..*", None),
    ]
    return RuleTable(
        f"coco_{prefix[:-1]}",
        (*replaced, *image_rules(prefix)),
        describes="DETR with masks, 384 channels wide, trained on COCO",
        fresh=(
            CLASS_HEAD,
            r"queries\..*",
            r"mask_branch\.sequence_head\..*",
            r"mask_branch\.frame_head\.(?:conv_offset|dcn)\..*",
        ),
    )


def vistr_tables(*, has_masks: bool) -> list[RuleTable]:
    """VisTR's checkpoints (a box model's names have no prefix), the image model's, and an ImageNet backbone."""
    prefix = "vistr." if has_masks else ""
    published = RuleTable("published", (*image_rules(prefix), *video_rules(prefix)), class_heads=(CLASS_HEAD,))
    return [published, coco_table("detr."), coco_table("vistr."), imagenet_table("backbone.")]
