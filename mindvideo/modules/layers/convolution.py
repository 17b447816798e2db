"""The convolution of the backbones: no bias, and a kernel that the following norm may scale."""

from __future__ import annotations

from mindspore import Parameter, nn, ops
from mindspore.common.initializer import HeNormal, initializer


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
        self.conv2d = ops.Conv2D(
            out_channels,
            kernel_size,
            pad_mode="pad",
            pad=dilation * (kernel_size // 2),
            stride=stride,
            dilation=dilation,
            group=groups,
        )

    def construct(self, x):
        """x [N, C, H, W] -> [N, C', H', W'] with H' = ceil(H / stride)."""
        return self.conv2d(x, self.weight)

    def scaled(self, x, scale):
        """The convolution with output channel c multiplied by ``scale[c]``, at the cost of scaling the kernel."""
        return self.conv2d(x, self.weight * scale.view(-1, 1, 1, 1))
