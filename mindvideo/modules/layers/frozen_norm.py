"""Batch normalisation with fixed statistics, folded into the convolution in front of it."""

from __future__ import annotations

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from mindvideo.modules.layers.convolution import Convolution


class FrozenBatchNorm(nn.Cell):
    """y = x * scale + shift with scale = weight / sqrt(running_var + eps) and shift = bias - running_mean * scale.

    None of the four vectors is trained or updated, in training and in evaluation alike. They keep the names of a
    batch norm so that a checkpoint fills them one to one.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = _vector(np.ones(channels), "weight")
        self.bias = _vector(np.zeros(channels), "bias")
        self.running_mean = _vector(np.zeros(channels), "running_mean")
        self.running_var = _vector(np.ones(channels), "running_var")

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Two vectors [C]."""
        scale = self.weight * ops.rsqrt(self.running_var + self.eps)
        return scale, self.bias - self.running_mean * scale

    def construct(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] -> [N, C, H, W]."""
        scale, shift = self.scale_and_shift()
        return x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)

    def after(self, conv: Convolution, x: Tensor, residual: Tensor | None = None, relu: bool = False) -> Tensor:
        """relu(the norm of ``conv(x)`` + residual), all folded into the convolution: no pass over the map."""
        scale, shift = self.scale_and_shift()
        return conv.scaled(x, scale, shift, residual, relu)


def _vector(values: np.ndarray, name: str) -> Parameter:
    return Parameter(Tensor(values.astype(np.float32)), name=name, requires_grad=False)
