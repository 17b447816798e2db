"""Classification losses."""

from __future__ import annotations

import mindspore as ms
from mindspore import ops


def weighted_softmax_cross_entropy(logits: ms.Tensor, targets: ms.Tensor, class_weights: ms.Tensor) -> ms.Tensor:
    """logits [..., K], targets int [...], class_weights [K] -> []: the weighted mean over all rows."""
    num_classes = logits.shape[-1]
    one_hot = ops.one_hot(targets.astype(ms.int32), num_classes).astype(logits.dtype)
    log_probability = (ops.log_softmax(logits, axis=-1) * one_hot).sum(axis=-1)
    weights = (one_hot * class_weights).sum(axis=-1)
    return -(log_probability * weights).sum() / weights.sum()
