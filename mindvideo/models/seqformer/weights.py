"""The published checkpoints of SeqFormer, and files of the MS-STS VIS code, which is the same network: name by name."""

from __future__ import annotations

from mindvideo.weights.dynamic_mask_rules import query_model_rules
from mindvideo.weights.rules import RuleTable


def seqformer_table() -> RuleTable:
    return RuleTable(
        "published",
        tuple(query_model_rules()),
        class_heads=(r"class_embed\..*",),
        # The MS-STS code declares this module in every layer and never calls it (as declared, a call would fail).
        dropped=(r"detr\.transformer\.decoder\.layers\.\d+\.temp_attn_box\..*",),
    )
