"""Published names of the networks whose clip is one sequence of tokens, and of the image model they start from."""

from __future__ import annotations

import re

from mindvideo.weights.attention_mask_rules import mask_rules, sequence_mask_rules
from mindvideo.weights.backbone_rules import backbone_rules
from mindvideo.weights.rules import Rule, RuleTable

CLASS_HEAD = r"head\.class_embed\..*"
# Parameters of the mask head that the image model's file does not hold.
CLIP_MASKS = (r"mask_branch\.sequence_head\..*", r"mask_branch\.frame_head\.(?:conv_offset|dcn)\..*")
OWN_MASKS = (r"mask_branch\..*",)


# The mask head of the published files, for a model that has another one.
NO_MASK_RULES = [Rule(r"(?:bbox_attention|mask_head)\..*", None)]


def image_rules(prefix: str, *, own_masks: bool = False) -> list[Rule]:
    """Rules for the image model too; ``prefix`` is "vistr.", "detr." or none; ``own_masks``: another mask head."""
    p = re.escape(prefix)
    return [
        *backbone_rules(f"{prefix}backbone.0.body.", "backbone."),
        Rule(p + r"input_proj\.(.*)", r"token_projection.project.0.\1"),
        Rule(p + r"transformer\.(encoder|decoder)\.layers\.(\d+)\.(linear\d)\.(.*)", r"\1.layers.\2.ffn.\3.\4"),
        Rule(p + r"transformer\.(encoder|decoder)\.layers\.(\d+)\.((?!linear|ffn).*)", r"\1.layers.\2.\3"),
        Rule(p + r"transformer\.(encoder|decoder)\.norm\.(.*)", r"\1.norm.\2"),
        Rule(p + r"(bbox_embed)\.(.*)", r"head.\1.\2"),
        *(NO_MASK_RULES if own_masks else mask_rules()),
    ]


def video_rules(prefix: str) -> list[Rule]:
    """The part that only the clip model has: classes, queries, the deformable convolution, the sequence head."""
    p = re.escape(prefix)
    return [
        Rule(p + r"(class_embed)\.(.*)", r"head.\1.\2"),
        Rule(p + r"query_embed\.weight", r"queries.weight"),
        *sequence_mask_rules(),
    ]


def coco_table(prefix: str, *, own_masks: bool, fresh: tuple[str, ...] = ()) -> RuleTable:
    """The image model's file under its own names, or already renamed for the clip model; ``fresh``: further parts."""
    replaced = [
        Rule(re.escape(prefix) + r"(?:class_embed\..*|query_embed\.weight)", None),
        Rule(r"mask_head\.(?:lay5|out_lay)\..*", None),
    ]
    return RuleTable(
        f"coco_{prefix[:-1]}",
        (*replaced, *image_rules(prefix, own_masks=own_masks)),
        describes="DETR with masks, 384 channels wide, trained on COCO",
        fresh=(
            CLASS_HEAD,
            r"queries\..*",
            *(OWN_MASKS if own_masks else CLIP_MASKS),
            *fresh,
        ),
    )
