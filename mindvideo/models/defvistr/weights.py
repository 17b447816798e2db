"""The published names of Deformable VisTR, and the image models that its training can start from."""

from __future__ import annotations

import re

from mindvideo.weights.attention_mask_rules import mask_rules, sequence_mask_rules
from mindvideo.weights.backbone_rules import backbone_rules, imagenet_table
from mindvideo.weights.rules import Rule, RuleTable

CLASS_HEAD = r"decoder\.head\.class_embed\..*"


def shared_rules(prefix: str) -> list[Rule]:
    """The part that VisTR's image model has as well: all but classes, queries and the encoder's attention."""
    p = re.escape(prefix)
    return [
        *backbone_rules(f"{prefix}backbone.0.body.", "backbone."),
        Rule(p + r"input_proj\.(.*)", r"frame_tokens.project.0.\1"),
        Rule(p + r"transformer\.(encoder\.layers\.\d+\.(?:linear\d|norm\d)\..*)", r"\1"),
        Rule(p + r"transformer\.decoder\.layers\.(\d+)\.(linear\d)\.(.*)", r"decoder.layers.\1.ffn.\2.\3"),
        Rule(p + r"transformer\.decoder\.layers\.(\d+)\.((?!linear|ffn).*)", r"decoder.layers.\1.\2"),
        Rule(p + r"transformer\.(decoder\.norm\..*)", r"\1"),
        Rule(p + r"(bbox_embed)\.(.*)", r"decoder.head.\1.\2"),
        *mask_rules(),
    ]


def published_table() -> RuleTable:
    """The layout of the released code's checkpoints."""
    return RuleTable(
        "published",
        (
            *shared_rules("vistr."),
            *sequence_mask_rules(),
            Rule(r"vistr\.transformer\.(encoder\.layers\.\d+\.self_attn\..*)", r"\1"),
            Rule(r"vistr\.transformer\.instance_encoders\.weight", "query_tokens.weight"),
            Rule(r"vistr\.(class_embed)\.(.*)", r"decoder.head.\1.\2"),
            Rule(r"vistr\.query_embed\.weight", "decoder.query_embed"),
        ),
        class_heads=(CLASS_HEAD,),
    )


def coco_detr_table(prefix: str) -> RuleTable:
    """The 384-channel image model that VisTR starts from; its dense encoder attention has no counterpart here."""
    p = re.escape(prefix)
    left_out = (
        Rule(p + r"(?:class_embed\..*|query_embed\.weight)", None),
        Rule(p + r"transformer\.encoder\.layers\.\d+\.self_attn\..*", None),
        Rule(r"mask_head\.(?:lay5|out_lay)\..*", None),
    )
    return RuleTable(
        f"coco_{prefix[:-1]}",
        (*left_out, *shared_rules(prefix)),
        describes="DETR with masks, 384 channels wide, trained on COCO",
        fresh=(
            CLASS_HEAD,
            r"query_tokens\.weight",
            r"decoder\.query_embed",
            r"encoder\.layers\.\d+\.self_attn\..*",
            r"mask_branch\.sequence_head\..*",
            r"mask_branch\.frame_head\.(?:conv_offset|dcn)\..*",
        ),
    )


def coco_deformable_detr_table() -> RuleTable:
    """Deformable DETR is 256 channels wide: its backbone fits, nothing else does."""
    return RuleTable(
        "coco_deformable_detr",
        (
            *backbone_rules("backbone.0.body.", "backbone."),
            Rule(r"(?:transformer|class_embed|bbox_embed|input_proj|query_embed)\..*", None),
        ),
        describes="Deformable DETR trained on COCO (its backbone)",
        fresh=(r"(?!backbone\.).*",),
    )


def defvistr_tables() -> list[RuleTable]:
    """Own checkpoints, the image models that training can start from, and an ImageNet backbone."""
    return [
        published_table(),
        coco_detr_table("detr."),
        coco_detr_table("vistr."),
        coco_deformable_detr_table(),
        imagenet_table("backbone."),
    ]
