"""The small perceptron of box and embedding heads."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.modules.layers.linear import Linear


class MLP(nn.Cell):
    """``num_layers`` dense layers with ReLU between them: [..., in_width] -> [..., out_width]."""

    def __init__(self, *, in_width: int, hidden: int, out_width: int, num_layers: int):
        super().__init__()
        widths = [in_width] + [hidden] * (num_layers - 1) + [out_width]
        self.layers = nn.CellList([Linear(a, b) for a, b in zip(widths[:-1], widths[1:])])
        self.last = num_layers - 1

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i < self.last:
                x = ops.relu(x)
        return x
