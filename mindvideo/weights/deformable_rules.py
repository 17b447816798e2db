"""Published names of Deformable DETR that the video models built on it have kept."""

from __future__ import annotations

import re

from mindvideo.weights.backbone_rules import backbone_rules
from mindvideo.weights.rules import Rule, identity


def deformable_rules(prefix: str) -> list[Rule]:
    """Backbone, projections, encoder, reference points and boxes; ``prefix`` is "detr." or none."""
    p = re.escape(prefix)
    return [
        *backbone_rules(f"{prefix}backbone.0.body.", "backbone."),
        Rule(p + r"input_proj\.(\d)\.0\.(weight|bias)", r"projection.levels.\1.convolution.\2"),
        Rule(p + r"input_proj\.(\d)\.1\.(weight|bias)", r"projection.levels.\1.norm.\2"),
        Rule(p + r"transformer\.(level_embed|reference_points\.(?:weight|bias))", r"\1"),
        Rule(p + r"transformer\.(encoder\.layers\.\d+\..*)", r"\1"),
        Rule(p + r"bbox_embed\.(.*)", r"decoder.bbox_embed.\1"),
        # With box refinement the decoder holds the same layers a second time.
        Rule(p + r"transformer\.decoder\.bbox_embed\.(.*)", r"decoder.bbox_embed.\1", derived=identity),
    ]
