"""The published checkpoints of InstanceFormer: name by name."""

from __future__ import annotations

from mindvideo.weights.coco_rules import DECODER_LAYER, deformable_detr_table
from mindvideo.weights.dynamic_mask_rules import query_model_rules
from mindvideo.weights.rules import Rule, RuleTable


def instanceformer_table() -> RuleTable:
    rules = (
        *query_model_rules(),
        Rule(r"detr\.transformer\.mem_token_proj\.(.*)", r"mem_token_proj.\1"),
        Rule(r"detr\.temporal_class_embed\.(.*)", r"temporal_class_embed.\1"),
    )
    return RuleTable(
        "published",
        rules,
        # The next training stage adds these to the one before: memory for OVIS, class propagation for YouTube-VIS.
        fresh=(r"mem_token_proj\..*", r".*\.(cross_attn_mem|norm2_mem)\..*", r"temporal_class_embed\..*"),
        class_heads=(r"class_embed\..*", r"temporal_class_embed\..*", r"mem_token_proj\.weight"),
    )


def detector_table() -> RuleTable:
    """Deformable DETR on COCO: its one stream is the box stream here."""
    return deformable_detr_table(
        (
            Rule(DECODER_LAYER + r"((?:self_attn|cross_attn|norm2)\..*)", r"decoder.layers.\1.\2"),
            Rule(DECODER_LAYER + r"(norm1|norm3|linear1|linear2)\.(weight|bias)", r"decoder.layers.\1.\2_box.\3"),
        ),
        fresh=(r"(?:temporal_class_embed|mem_token_proj)\..*", r".*\.(?:cross_attn_mem|norm2_mem)\..*"),
    )
