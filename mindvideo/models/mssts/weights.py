"""Starts for MS-STS VIS: SeqFormer's published checkpoints, files of the public MS-STS VIS code, a detector."""

from __future__ import annotations

from mindvideo.weights.backbone_rules import imagenet_table
from mindvideo.weights.dynamic_mask_rules import query_model_rules
from mindvideo.weights.rules import RuleTable
from mindvideo.weights.two_stream_rules import two_stream_detector_table

# Parts that the paper adds; they begin by changing nothing.
ADDED = (r"encoder\.layers\.\d+\.split_attention\..*", r"decoder\.layers\.\d+\.temp_attn_box\..*")


def mssts_tables() -> list[RuleTable]:
    rules, heads = tuple(query_model_rules()), (r"class_embed\..*",)
    return [
        RuleTable("published", rules, "a published checkpoint of SeqFormer", fresh=ADDED, class_heads=heads),
        # PARITY(mssts): the public code has its temporal attention in every layer (ours has none in the first), as wide
        # as there are queries. It cannot be called like that, so nothing was learnt there and ours begins afresh.
        RuleTable(
            "public_mssts",
            rules,
            "a checkpoint of the public MS-STS VIS code",
            fresh=ADDED,
            class_heads=heads,
            dropped=(r"detr\.transformer\.decoder\.layers\.\d+\.temp_attn_box\..*",),
        ),
        two_stream_detector_table(fresh=ADDED),
        imagenet_table("backbone."),
    ]
