"""InstanceFormer at the sizes of tests/models/small_models.py: overrides of instanceformer_toy."""

from __future__ import annotations


def small(*, T: int, Q: int, K: int) -> dict[str, object]:
    return {
        "instanceformer.num_queries": Q, "instanceformer.width": 32,
        "instanceformer.hidden": 20, "instanceformer.encoder_layers": 1, "instanceformer.decoder_layers": 2,
        "instanceformer.memory_frames": 3, "instanceformer.memory_tokens": 2,
        "instanceformer.contrastive_weight": 0.5, "instanceformer.match_on": "first_frame",
        "instanceformer.reference_propagation": "multiply",
    }  # fmt: skip
