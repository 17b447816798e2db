"""Layer and group normalisation: drop-ins for MindSpore's, much faster on CPU."""

from __future__ import annotations

from mindspore import Parameter, Tensor, nn
from mindspore.common.initializer import initializer

from mindvideo.errors import UserError
from mindvideo.ops.normalization import group_norm, layer_norm


class LayerNorm(nn.Cell):
    """Normalise over the last axis: x [..., C] -> [..., C]. `residual` of x's shape is added first."""

    keeps_float32 = True  # half precision stops at native operators

    def __init__(self, channels: int, *, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.channels = channels
        self.epsilon = epsilon
        self.weight = Parameter(initializer("ones", (channels,)), name="weight")
        self.bias = Parameter(initializer("zeros", (channels,)), name="bias")

    def construct(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        return layer_norm(x, self.weight, self.bias, self.epsilon, residual)


class GroupNorm(nn.Cell):
    """Normalise groups of channels over all positions: x [B, C, ...] -> [B, C, ...]; `relu` clips the result at 0."""

    keeps_float32 = True  # half precision stops at native operators

    def __init__(self, groups: int, channels: int, *, epsilon: float = 1e-5, relu: bool = False) -> None:
        super().__init__()
        if channels % groups:
            raise UserError(f"GroupNorm: {channels} channels cannot be split into {groups} equal groups")
        self.groups = groups
        self.channels = channels
        self.epsilon = epsilon
        self.relu = relu
        self.weight = Parameter(initializer("ones", (channels,)), name="weight")
        self.bias = Parameter(initializer("zeros", (channels,)), name="bias")

    def construct(self, x: Tensor) -> Tensor:
        return group_norm(x, self.groups, self.weight, self.bias, self.epsilon, self.relu)
