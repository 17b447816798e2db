"""VidEoMT at the sizes of tests/models/small_models.py: overrides of videomt_toy."""

from __future__ import annotations


def small(*, T: int, Q: int, K: int) -> dict[str, object]:  # noqa: ARG001  (clips of any length fit)
    return {
        "videomt.num_queries": Q, "data.num_classes": K, "videomt.width": 24, "videomt.heads": 3,
        "videomt.num_blocks": 3, "videomt.query_blocks": 2, "videomt.hidden_ratio": 2, "videomt.num_points": 50,
        "videomt.layer_scale": 0.5,
    }  # fmt: skip
