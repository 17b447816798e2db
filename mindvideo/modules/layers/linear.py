"""The linear layer of all networks: MindSpore's ``nn.Dense`` in fewer steps for the compiler."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops


@ops.constexpr
def output_shape(shape: tuple[int, ...], width_out: int) -> tuple[int, ...]:
    return (*shape[:-1], width_out)


class Linear(nn.Dense):
    """x [..., C] -> [..., C']: a product with ``weight`` [C', C], plus ``bias`` [C'].

    Parameters, their initial values and every bit of the result are those of ``nn.Dense``, whose own ``construct``
    becomes twice as many nodes of a graph before it is optimised; a network has hundreds of linear layers.
    """

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        y = self.matmul(self.reshape(x, (-1, self.in_channels)), self.weight)
        if self.has_bias:
            y = self.bias_add(y, self.bias)
        return self.reshape(y, output_shape(x.shape, self.out_channels))
