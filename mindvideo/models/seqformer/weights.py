"""The published checkpoints of SeqFormer, and files of the MS-STS VIS code, which is the same network: name by name."""

from __future__ import annotations

from mindvideo.weights.coco_rules import DECODER_LAYER, deformable_detr_table
from mindvideo.weights.dynamic_mask_rules import query_model_rules
from mindvideo.weights.rules import Rule, RuleTable


def seqformer_table() -> RuleTable:
    return RuleTable(
        "published",
        tuple(query_model_rules()),
        class_heads=(r"class_embed\..*",),
        # The MS-STS code declares this module in every layer and never calls it (as declared, a call would fail).
        dropped=(r"detr\.transformer\.decoder\.layers\.\d+\.temp_attn_box\..*",),
    )


def detector_table() -> RuleTable:
    """Deformable DETR on COCO: both streams start from its one, which looks for classes and boxes at once."""
    own, box = r"decoder.layers.\1.\2.\3", r"decoder.layers.\1.\2_box.\3"
    both = DECODER_LAYER + r"(self_attn|norm1|norm2|norm3|linear1|linear2)\.(.*)"
    output = DECODER_LAYER + r"(cross_attn\.output_proj)\.(weight|bias)"
    return deformable_detr_table(
        (
            Rule(both, own),
            Rule(both, box, copies=True),
            Rule(DECODER_LAYER + r"(cross_attn\..*)", r"decoder.layers.\1.\2"),
            Rule(output, box, copies=True),
        ),
        fresh=(r".*\.time_attention_weights\..*", r"encoder\..*\.output_proj_box\..*"),
    )
