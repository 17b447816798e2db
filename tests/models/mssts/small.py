"""MS-STS VIS at the sizes of tests/models/small_models.py: overrides of mssts_toy."""

from __future__ import annotations


def small(*, T: int, Q: int, K: int) -> dict[str, object]:
    return {
        "mssts.num_queries": Q, "mssts.width": 32,
        "mssts.hidden": 20, "mssts.encoder_layers": 1, "mssts.decoder_layers": 2,
        "mssts.absent_boxes": True, "mssts.window_frames": T,
    }  # fmt: skip
