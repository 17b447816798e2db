"""Published names of the models with a deformable encoder, queries and dynamic masks: one code base, several papers."""

from __future__ import annotations

from mindvideo.weights.deformable_rules import deformable_rules
from mindvideo.weights.rules import Rule


def query_model_rules() -> list[Rule]:
    """The names that all of them have."""
    return [
        *deformable_rules("detr."),
        Rule(r"detr\.transformer\.(decoder\.layers\.\d+\..*)", r"\1"),
        Rule(r"detr\.class_embed\.(.*)", r"class_embed.\1"),
        Rule(r"detr\.query_embed\.weight", r"query_embed"),
        Rule(r"controller\.(.*)", r"controller.\1"),
        Rule(r"mask_head\.lay3\.(.*)", r"mask_features.coarse.\1"),
        Rule(r"mask_head\.lay4\.(.*)", r"mask_features.middle.\1"),
        Rule(r"mask_head\.dcn\.(.*)", r"mask_features.fine.\1"),  # a plain convolution there too
        Rule(r"mask_head\.lay1\.(.*)", r"mask_features.narrow.\1"),
        Rule(r"mask_head\.lay2\.(.*)", r"mask_features.out.\1"),
    ]
