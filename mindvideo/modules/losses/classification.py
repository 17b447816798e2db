"""Classification losses."""

from __future__ import annotations

import mindspore as ms
from mindspore import ops


def weighted_softmax_cross_entropy(logits: ms.Tensor, targets: ms.Tensor, class_weights: ms.Tensor) -> ms.Tensor:
    """logits [..., R, K], targets int [..., R], class_weights [K] -> [...]: the weighted mean over the R rows."""
    one_hot = ops.one_hot(targets.astype(ms.int32), logits.shape[-1]).astype(logits.dtype)
    log_probability = (ops.log_softmax(logits, axis=-1) * one_hot).sum(axis=-1)
    weights = (one_hot * class_weights).sum(axis=-1)
    return -(log_probability * weights).sum(axis=-1) / weights.sum(axis=-1)
