"""The linear layer of all networks: MindSpore's ``nn.Dense`` in fewer steps for the compiler."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.ops.dense_layer import dense_layer, is_faster


@ops.constexpr
def output_shape(shape: tuple[int, ...], width_out: int) -> tuple[int, ...]:
    return (*shape[:-1], width_out)


class Linear(nn.Dense):
    """x [..., C] -> [..., C']: a product with ``weight`` [C', C], plus ``bias`` [C'].

    Parameters, their initial values and, in training, every bit of the result are those of ``nn.Dense``, whose own
    ``construct`` becomes twice as many nodes of a graph before it is optimised; a network has hundreds of these layers.
    Without gradients the compiled library computes those of many rows.
    """

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        rows = self.reshape(x, (-1, self.in_channels))
        if not self.training and is_faster(x.shape, x.dtype):
            y = dense_layer(rows, self.weight, self.bias if self.has_bias else None)
        else:
            y = self.matmul(rows, self.weight)
            if self.has_bias:
                y = self.bias_add(y, self.bias)
        return self.reshape(y, output_shape(x.shape, self.out_channels))
