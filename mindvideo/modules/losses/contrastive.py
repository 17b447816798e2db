"""Supervised contrastive loss: a query should look like itself on other frames and unlike the other queries."""

from __future__ import annotations

import mindspore as ms
from mindspore import ops

from mindvideo.ops.slices import swapped

TEMPERATURE = 0.07
SMALLEST_NORM = 1e-12


def unit_vectors(x: ms.Tensor) -> ms.Tensor:
    """x [..., C] divided by its length; a zero vector stays zero."""
    squared = ops.sum(x * x, -1, keepdim=True)
    return x / ops.sqrt(ops.maximum(squared, ms.Tensor(SMALLEST_NORM**2, ms.float32)))


def supervised_contrastive(features: ms.Tensor, identities: ms.Tensor) -> ms.Tensor:
    """features [B, S, C] of S samples a clip, identities int [B, S] -> one number a clip, [B].

    Mean over the samples of minus the mean log-probability, among all other samples, of those with the same identity.
    A sample whose identity occurs once has no positive: it counts as 0.
    """
    S = features.shape[1]
    units = unit_vectors(features)
    similarity = ops.matmul(units, swapped(units, 1, 2)) / TEMPERATURE  # [B, S, S]
    similarity = similarity - ops.stop_gradient(ops.amax(similarity, -1, True))
    others = 1.0 - ops.eye(S, S, ms.float32)
    log_probability = similarity - ops.log(ops.sum(ops.exp(similarity) * others, -1, keepdim=True))
    same = ops.cast(ops.equal(identities.expand_dims(-1), identities.expand_dims(-2)), ms.float32) * others
    positives = ops.sum(same, -1)
    mean_of_positives = ops.sum(same * log_probability, -1) / ops.maximum(positives, ms.Tensor(1.0, ms.float32))
    return -mean_of_positives.mean(-1)
