"""GMP-VIS at the sizes of tests/models/small_models.py: overrides of gmpvis_toy."""

from __future__ import annotations


def small(*, T: int, Q: int, K: int) -> dict[str, object]:
    return {
        "gmpvis.num_queries": Q, "gmpvis.query_anchors": [], "gmpvis.width": 24, "gmpvis.hidden": 20,
        "gmpvis.encoder_layers": 1, "gmpvis.decoder_layers": 2, "gmpvis.mask_channels": 8,
        "gmpvis.node_width": 12, "gmpvis.second_class_weight": 0.5,
    }  # fmt: skip
