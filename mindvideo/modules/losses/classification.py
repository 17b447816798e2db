"""Classification losses."""

from __future__ import annotations

import mindspore as ms
from mindspore import ops


def weighted_softmax_cross_entropy(logits: ms.Tensor, targets: ms.Tensor, class_weights: ms.Tensor) -> ms.Tensor:
    """logits [..., R, K], targets int [..., R], class_weights [K] -> [...]: the weighted mean over the R rows."""
    one_hot = ops.cast(ops.one_hot(ops.cast(targets, ms.int32), logits.shape[-1]), logits.dtype)
    log_probability = ops.sum(ops.log_softmax(logits, axis=-1) * one_hot, -1)
    weights = ops.sum(one_hot * class_weights, -1)
    return -ops.sum(log_probability * weights, -1) / ops.sum(weights, -1)
