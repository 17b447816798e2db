"""The feed-forward halves of a transformer's block."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops
from mindspore.common.initializer import XavierUniform

from mindvideo.modules.layers.linear import Linear
from mindvideo.ops.elementwise import gelu, is_native_gelu
from mindvideo.ops.slices import part

INVERSE_ROOT_OF_2 = 2.0**-0.5


class ReluFeedForward(nn.Cell):
    """Dense, ReLU, dense: [..., C] -> [..., C]."""

    def __init__(self, *, width: int, hidden: int) -> None:
        super().__init__()
        self.linear1 = Linear(width, hidden, weight_init=XavierUniform())
        self.linear2 = Linear(hidden, width, weight_init=XavierUniform())

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.linear2(ops.relu(self.linear1(x)))


class GeluFeedForward(nn.Cell):
    """Dense, exact GELU, dense: [..., C] -> [..., C]."""

    def __init__(self, *, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = Linear(width, hidden), Linear(hidden, width)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.fc2(exact_gelu(self.fc1(x)))


class SwigluFeedForward(nn.Cell):
    """One dense layer gives gate and value, another takes SiLU(gate) * value: [..., C] -> [..., C].

    ``hidden`` is that of the GELU form: two thirds of it, rounded up to a multiple of 8, cost about as much.
    """

    def __init__(self, *, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden = (hidden * 2 // 3 + 7) // 8 * 8
        self.fc1, self.fc2 = Linear(width, 2 * self.hidden), Linear(self.hidden, width)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        both = self.fc1(x)
        gate, value = part(both, -1, 0, self.hidden), part(both, -1, self.hidden)
        return self.fc2(gate * ops.sigmoid(gate) * value)


FEED_FORWARDS = {"gelu": GeluFeedForward, "swiglu": SwigluFeedForward}


def exact_gelu(x: ms.Tensor) -> ms.Tensor:
    """x * the normal distribution's probability below x; the tanh form is off by 5e-4."""
    if is_native_gelu(x.shape, x.dtype):
        return gelu(x)
    return x * 0.5 * (1.0 + ops.erf(x * INVERSE_ROOT_OF_2))  # faster on CPU than ops.gelu, and as exact
