"""The published checkpoints of InstanceFormer: name by name."""

from __future__ import annotations

from mindvideo.convert.backbone_rules import backbone_rules
from mindvideo.convert.rules import Rule, RuleTable, identity


def shared_rules() -> list[Rule]:
    """The names that SeqFormer, on whose code InstanceFormer was built, has too."""
    return [
        *backbone_rules("detr.backbone.0.body.", "backbone."),
        Rule(r"detr\.input_proj\.(\d)\.0\.(.*)", r"projection.levels.\1.convolution.\2"),
        Rule(r"detr\.input_proj\.(\d)\.1\.(.*)", r"projection.levels.\1.norm.\2"),
        Rule(r"detr\.transformer\.(level_embed|reference_points\..*)", r"\1"),
        Rule(r"detr\.transformer\.(encoder\.layers|decoder\.layers)\.(.*)", r"\1.\2"),
        Rule(r"detr\.class_embed\.(.*)", r"class_embed.\1"),
        Rule(r"detr\.bbox_embed\.(.*)", r"decoder.bbox_embed.\1"),
        Rule(r"detr\.transformer\.decoder\.bbox_embed\.(.*)", r"decoder.bbox_embed.\1", derived=identity),
        Rule(r"detr\.query_embed\.weight", r"query_embed"),
        Rule(r"(controller|mask_head)\.(.*)", r"\1.\2"),
    ]


def instanceformer_table() -> RuleTable:
    rules = (
        *shared_rules(),
        Rule(r"detr\.transformer\.mem_token_proj\.(.*)", r"mem_token_proj.\1"),
        Rule(r"detr\.temporal_class_embed\.(.*)", r"temporal_class_embed.\1"),
    )
    return RuleTable(
        "published",
        rules,
        # What the next training stage adds to the one before: memory for OVIS, class propagation for YouTube-VIS.
        fresh=(r"mem_token_proj\..*", r".*\.(cross_attn_mem|norm2_mem)\..*", r"temporal_class_embed\..*"),
        class_heads=(r"class_embed\..*", r"temporal_class_embed\..*", r"mem_token_proj\.weight"),
    )
