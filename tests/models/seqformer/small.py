"""SeqFormer at the sizes of tests/models/small_models.py: overrides of seqformer_toy."""

from __future__ import annotations


def small(*, T: int, Q: int, K: int) -> dict[str, object]:
    return {
        "seqformer.num_queries": Q, "seqformer.width": 32,
        "seqformer.hidden": 20, "seqformer.encoder_layers": 1, "seqformer.decoder_layers": 2,
        "seqformer.absent_boxes": True, "seqformer.window_frames": T,
    }  # fmt: skip
