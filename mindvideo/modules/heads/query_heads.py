"""The class and box heads of a query decoder, one of each for every layer."""

from __future__ import annotations

import math

import mindspore as ms
from mindspore import nn
from mindspore.common.initializer import initializer

from mindvideo.modules.layers.linear import Linear
from mindvideo.modules.layers.mlp import MLP

PRIOR_PROBABILITY = 0.01  # what every class is given at the start of training
START_SIZE_LOGIT = -2.0  # of width and height of the first layer's boxes: 12 % of the frame


def class_heads(*, width: int, num_classes: int, num_layers: int) -> nn.CellList:
    """Linear layers [..., C] -> [..., K], equal at the start."""
    prior = -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY)
    heads = [Linear(width, num_classes) for _ in range(num_layers)]
    for head in heads:
        head.weight.set_data(ms.Tensor(heads[0].weight.asnumpy()))
        head.bias.set_data(initializer(prior, (num_classes,)))
    return nn.CellList(heads)


def box_heads(*, width: int, num_layers: int, start_size_logit: float = START_SIZE_LOGIT) -> nn.CellList:
    """Perceptrons [..., C] -> [..., 4], equal at the start, when they change nothing but the first layer's box size."""
    heads = [MLP(in_width=width, hidden=width, out_width=4, num_layers=3) for _ in range(num_layers)]
    for index, head in enumerate(heads):
        for layer, first in zip(head.layers, heads[0].layers):
            layer.weight.set_data(ms.Tensor(first.weight.asnumpy()))
            layer.bias.set_data(ms.Tensor(first.bias.asnumpy()))
        head.layers[-1].weight.set_data(initializer("zeros", head.layers[-1].weight.shape))
        size = start_size_logit if index == 0 else 0.0
        head.layers[-1].bias.set_data(ms.Tensor([0.0, 0.0, size, size], ms.float32))
    return nn.CellList(heads)
