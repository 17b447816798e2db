"""Deformable DETR on COCO as a start for models whose decoder has a stream for instances and one for their boxes."""

from __future__ import annotations

from collections.abc import Sequence

from mindvideo.weights.coco_rules import DECODER_LAYER, deformable_detr_table
from mindvideo.weights.rules import Rule, RuleTable


def two_stream_detector_table(*, fresh: Sequence[str] = ()) -> RuleTable:
    """Both streams start from the detector's one, which looks for classes and boxes at once."""
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
        fresh=(r".*\.time_attention_weights\..*", r"encoder\..*\.output_proj_box\..*", *fresh),
    )
