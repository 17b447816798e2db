"""The convolution of the backbones: no bias, and a kernel that the following norm may scale."""

from __future__ import annotations

import mindspore as ms
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import HeNormal, initializer

_zeros_like = ops.ZerosLike()


class _ScaledRows(nn.Cell):
    """weight [O, ...], scale [O], which is not trained -> weight with its o-th row multiplied by ``scale[o]``.

    The scale is spread over the weight first, and again in the backward pass: an element-wise operator that broadcasts
    by itself keeps four times its result on CPU, and a spread scale kept from one pass to the other would be as large
    as the weight.
    """

    def construct(self, weight: ms.Tensor, scale: ms.Tensor) -> ms.Tensor:
        return weight * self.spread(scale, weight)

    def bprop(
        self, weight: ms.Tensor, scale: ms.Tensor, out: ms.Tensor, gradient: ms.Tensor
    ) -> tuple[ms.Tensor, ms.Tensor]:  # noqa: ARG002
        return gradient * self.spread(ops.depend(scale, gradient), gradient), _zeros_like(scale)

    def spread(self, scale: ms.Tensor, weight: ms.Tensor) -> ms.Tensor:
        return ops.broadcast_to(scale.reshape(-1, 1, 1, 1), weight.shape)


class Convolution(nn.Cell):
    """2-D convolution without bias, padded so that stride 1 keeps the size; Kaiming-normal (fan out) initialised."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        trainable: bool = True,
    ) -> None:
        super().__init__()
        shape = (out_channels, in_channels // groups, kernel_size, kernel_size)
        init = HeNormal(mode="fan_out", nonlinearity="relu")
        self.weight = Parameter(initializer(init, shape), name="weight", requires_grad=trainable)
        self.scale_rows = _ScaledRows()
        self.conv2d = ops.Conv2D(
            out_channels,
            kernel_size,
            pad_mode="pad",
            pad=dilation * (kernel_size // 2),
            stride=stride,
            dilation=dilation,
            group=groups,
        )

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """x [N, C, H, W] -> [N, C', H', W'] with H' = ceil(H / stride)."""
        return self.conv2d(x, self.weight)

    def scaled(self, x: ms.Tensor, scale: ms.Tensor) -> ms.Tensor:
        """The convolution with output channel c multiplied by ``scale[c]``, at the cost of scaling the kernel."""
        return self.conv2d(x, self.scale_rows(self.weight, scale))
