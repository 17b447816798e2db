"""Statistics that the forward pass itself moves, and how they get back to a value."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
from mindspore import Parameter, nn, ops

_plus, _assign, _depend = ops.Add(), ops.Assign(), ops.Depend()


def running_statistics(network: nn.Cell, weights: Sequence[Parameter] | None = None) -> list[Parameter]:
    """The untrained parameters of each layer that also has trained ones; only of layers with one of ``weights``."""
    wanted = None if weights is None else {id(weight) for weight in weights}
    found: list[Parameter] = []
    for _, cell in network.cells_and_names():
        own = [parameter for _, parameter in cell.parameters_and_names(expand=False)]
        if any(p.requires_grad and (wanted is None or id(p) in wanted) for p in own):
            found += [p for p in own if not p.requires_grad]
    return found


def copy_after(after: object, statistic: ms.Tensor) -> ms.Tensor:
    """Its value when ``after`` is known."""
    return _plus(_depend(statistic, after), 0.0)


def put_back(after: object, statistic: ms.Tensor, value: ms.Tensor) -> ms.Tensor:
    """Give it the value that it had, when ``after`` is known."""
    return _assign(statistic, _depend(value, after))
