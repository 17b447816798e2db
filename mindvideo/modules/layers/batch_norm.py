"""Trainable batch normalisation for networks trained from scratch."""

from __future__ import annotations

import mindspore as ms
from mindspore import ops

from mindvideo.modules.layers.convolution import Convolution, finished
from mindvideo.modules.layers.frozen_norm import FrozenBatchNorm


class BatchNorm(FrozenBatchNorm):
    """Batch statistics in training, running ones (folded into the convolution) in evaluation.

    The running statistics move by ``momentum`` of the difference at every training step, on each device by itself.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(channels, eps=eps)
        self.weight.requires_grad = True
        self.bias.requires_grad = True
        self.batch_norm = ops.BatchNorm(is_training=True, epsilon=eps, momentum=momentum)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """x [N, C, H, W] -> [N, C, H, W]."""
        if self.training:
            return self.batch_norm(x, self.weight, self.bias, self.running_mean, self.running_var)[0]
        return super().construct(x)

    def after(
        self, conv: Convolution, x: ms.Tensor, residual: ms.Tensor | None = None, relu: bool = False
    ) -> ms.Tensor:
        """relu(the norm of ``conv(x)`` + residual)."""
        if self.training:
            return finished(self.construct(conv(x)), residual, relu)
        return super().after(conv, x, residual, relu)
