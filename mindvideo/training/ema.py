"""An exponential moving average of the weights, kept in the training graph and swapped in for evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import mindspore as ms
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

_assign, _times, _plus, _minus = ops.Assign(), ops.Mul(), ops.Add(), ops.Sub()


def _follow(share: ms.Tensor, average: ms.Tensor, parameter: ms.Tensor) -> ms.Tensor:
    return _assign(average, _plus(average, _times(share, _minus(parameter, average))))


class WeightAverage(nn.Cell):
    """average += (1 - d) * (weight - average) at each update, with d rising to ``decay`` over the first updates.

    d = min(decay, (1 + updates) / (10 + updates)), so that the random start is soon forgotten.
    """

    def __init__(self, parameters: Sequence[Parameter], *, decay: float) -> None:
        super().__init__(auto_prefix=False)
        self.parameters = ParameterTuple(parameters)
        self.averages = ParameterTuple(
            Parameter(Tensor(p.asnumpy().copy()), name=f"average.{p.name}", requires_grad=False) for p in parameters
        )
        self.updates = Parameter(Tensor(0.0, ms.float32), name="average.updates", requires_grad=False)
        self.decay = Tensor(decay, ms.float32)
        self.map = ops.HyperMap()

    def construct(self, apply: ms.Tensor) -> ms.Tensor:
        """apply float32 []: 1 after an update of the weights, 0 leaves the average as it is."""
        decay = ops.minimum(self.decay, (1.0 + self.updates) / (10.0 + self.updates))
        share = apply * (1.0 - decay)
        self.map(ops.partial(_follow, share), self.averages, self.parameters)
        return ops.assign(self.updates, self.updates + apply)

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Inside the block the network computes with the averaged weights."""
        kept = [parameter.asnumpy().copy() for parameter in self.parameters]
        try:
            for parameter, average in zip(self.parameters, self.averages):
                parameter.set_data(Tensor(average.asnumpy().copy()))
            yield
        finally:
            for parameter, value in zip(self.parameters, kept):
                parameter.set_data(Tensor(value))
