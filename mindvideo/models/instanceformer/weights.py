"""The published checkpoints of InstanceFormer: name by name."""

from __future__ import annotations

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
