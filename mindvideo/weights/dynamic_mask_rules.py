"""Published names of the models with a deformable encoder, queries and dynamic masks: one code base, several papers."""

from __future__ import annotations

from mindvideo.weights.backbone_rules import backbone_rules
from mindvideo.weights.rules import Rule, identity


def query_model_rules() -> list[Rule]:
    """The names that all of them have."""
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
        Rule(r"controller\.(.*)", r"controller.\1"),
        Rule(r"mask_head\.lay3\.(.*)", r"mask_features.coarse.\1"),
        Rule(r"mask_head\.lay4\.(.*)", r"mask_features.middle.\1"),
        Rule(r"mask_head\.dcn\.(.*)", r"mask_features.fine.\1"),  # a plain convolution there too
        Rule(r"mask_head\.lay1\.(.*)", r"mask_features.narrow.\1"),
        Rule(r"mask_head\.lay2\.(.*)", r"mask_features.out.\1"),
    ]
