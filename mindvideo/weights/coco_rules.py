"""Deformable DETR, trained on COCO, as a start for the online video models."""

from __future__ import annotations

from mindvideo.weights.deformable_rules import deformable_rules
from mindvideo.weights.rules import Rule, RuleTable


def deformable_detr_table() -> RuleTable:
    """Everything of the detector but its classes and queries, which are of another list and number.

    With or without box refinement; a two-stage detector has queries of another kind and does not fit.
    """
    decoder = r"transformer\.decoder\.layers\.(\d+)\."
    rules = (
        *deformable_rules(""),
        Rule(decoder + r"((?:self_attn|cross_attn|norm2)\..*)", r"decoder.layers.\1.\2"),
        # The detector's one stream is the box stream of the video model.
        Rule(decoder + r"(norm1|norm3|linear1|linear2)\.(weight|bias)", r"decoder.layers.\1.\2_box.\3"),
        Rule(r"(?:class_embed\..*|query_embed\.weight)", None),
    )
    return RuleTable(
        "coco_deformable_detr",
        rules,
        describes="Deformable DETR trained on COCO",
        fresh=(
            r"(?:class_embed|temporal_class_embed|controller|mask_features|mem_token_proj)\..*",
            r"query_embed",
            r".*\.(?:cross_attn_mem|norm2_mem)\..*",
        ),
    )
