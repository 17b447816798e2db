"""Deformable VisTR at the sizes of tests/models/small_models.py: overrides of defvistr_toy."""

from __future__ import annotations


def small(*, T: int, Q: int, K: int) -> dict[str, object]:
    return {
        "defvistr.num_queries": Q, "defvistr.query_anchors": [], "defvistr.width": 24,
        "defvistr.encoder_hidden": 20, "defvistr.decoder_hidden": 20,
        "defvistr.encoder_layers": 1, "defvistr.decoder_layers": 2, "defvistr.mask_channels": 8,
        "defvistr.decoder": "dense", "defvistr.tokens_per_query": 3,
    }  # fmt: skip
