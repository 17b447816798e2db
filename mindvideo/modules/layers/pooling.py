"""Max pooling: by the compiled library in passes without gradients."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.ops.convolution import is_native_pool, max_pool


class MaxPool2d(nn.Cell):
    """The greatest of each square of ``kernel_size``, at every ``stride``-th place: [N, C, H, W] -> [N, C, H', W'].

    Padding counts as nothing; it is at most half a square.
    """

    def __init__(self, kernel_size: int, *, stride: int, padding: int) -> None:
        super().__init__()
        self.by_mindspore = nn.MaxPool2d(kernel_size, stride, pad_mode="pad", padding=padding)
        self.native = _NativePool(self.by_mindspore, (kernel_size, stride, padding))

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        if not self.training and is_native_pool(x.shape, x.dtype):
            return self.native(x)
        return self.by_mindspore(x)


class _NativePool(nn.Cell):
    """A network in evaluation can be differentiated, too: by MindSpore's operator."""

    def __init__(self, by_mindspore: nn.Cell, geometry: tuple[int, int, int]) -> None:
        super().__init__()
        self.by_mindspore = by_mindspore
        self.geometry = geometry
        self.gradients = ops.GradOperation(sens_param=True)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return max_pool(x, *self.geometry)

    def bprop(self, x: ms.Tensor, out: ms.Tensor, gradient: ms.Tensor) -> tuple[ms.Tensor]:  # noqa: ARG002
        return (self.gradients(self.by_mindspore)(x, gradient),)
