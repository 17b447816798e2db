"""Layer and group normalisation written with MindSpore's own operators: the twins of the native kernels."""

from __future__ import annotations

from mindspore import Tensor, ops


def layer_norm_ref(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """x [..., C], weight and bias [C] -> [..., C]."""
    centred = x - x.mean(axis=-1, keep_dims=True)
    variance = (centred * centred).mean(axis=-1, keep_dims=True)
    return centred * ops.rsqrt(variance + epsilon) * weight + bias


def group_norm_ref(x: Tensor, groups: int, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """x [B, C, ...], weight and bias [C] -> [B, C, ...]."""
    B, C = x.shape[:2]
    grouped = x.reshape(B, groups, -1)
    centred = grouped - grouped.mean(axis=-1, keep_dims=True)
    variance = (centred * centred).mean(axis=-1, keep_dims=True)
    normalised = (centred * ops.rsqrt(variance + epsilon)).reshape(B, C, -1)
    return (normalised * weight.reshape(1, C, 1) + bias.reshape(1, C, 1)).reshape(x.shape)
