"""The linear layer of all networks: MindSpore's ``nn.Dense`` in fewer steps for the compiler."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.ops.dense import dense_layer, is_native_layer

_product, _add = ops.MatMul(transpose_b=True), ops.BiasAdd()


@ops.constexpr
def output_shape(shape: tuple[int, ...], width_out: int) -> tuple[int, ...]:
    return (*shape[:-1], width_out)


def linear(rows: ms.Tensor, weight: ms.Tensor, bias: ms.Tensor | None, half: bool = False) -> ms.Tensor:
    """rows [N, C], weight [C', C], bias [C'] -> [N, C']; many rows, and their gradients, by the compiled library.

    ``half``: that multiplies in bfloat16, without gradients.
    """
    if is_native_layer(rows.shape, rows.dtype):
        return dense_layer(rows, weight, ops.zeros(weight.shape[0], rows.dtype) if bias is None else bias, half)
    y = _product(rows, weight)
    return y if bias is None else _add(y, bias)


class Linear(nn.Dense):
    """x [..., C] -> [..., C']: a product with ``weight`` [C', C], plus ``bias`` [C'].

    Parameters and their initial values are those of ``nn.Dense``, whose own ``construct`` becomes twice as many nodes
    of a graph before it is optimised; a network has hundreds of these layers.
    """

    half_products = False  # see execution/precision.py

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        rows = self.reshape(x, (-1, self.in_channels))
        y = linear(rows, self.weight, self.bias if self.has_bias else None, self.half_products)
        return self.reshape(y, output_shape(x.shape, self.out_channels))
