"""VisTR at the sizes of tests/models/small_models.py: overrides of vistr_toy."""

from __future__ import annotations


def small(*, T: int, Q: int, K: int) -> dict[str, object]:
    return {
        "vistr.num_queries": Q, "vistr.query_anchors": [], "vistr.width": 24, "vistr.hidden": 20,
        "vistr.encoder_layers": 1, "vistr.decoder_layers": 2, "vistr.mask_channels": 8,
    }  # fmt: skip
