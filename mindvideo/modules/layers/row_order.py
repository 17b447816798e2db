"""The leading axes of a tensor in another order, by gathering rows."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops


@ops.constexpr
def row_numbers(lead: tuple[int, ...], order: tuple[int, ...]) -> ms.Tensor:
    """Which row of the leading axes ``lead`` stands where after they are put in ``order``: int32 [rows]."""
    rows = np.arange(np.prod(lead), dtype=np.int32).reshape(lead)
    return ms.Tensor(np.ascontiguousarray(rows.transpose(order)).reshape(-1))


class LeadingAxes(nn.Cell):
    """As ``x.transpose(*order, ...)``: the leading axes come in ``order``, those after them stay where they are.

    MindSpore's transposition on CPU keeps eight bytes for every number of x until the process ends, here and once more
    in the backward pass; gathered rows leave nothing. For axes that are followed by long rows. Other devices transpose.
    """

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order, self.back = tuple(order), tuple(int(axis) for axis in np.argsort(order))
        self.gathers = ms.get_context("device_target") == "CPU"

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.ordered(x, self.order)

    def bprop(self, x: ms.Tensor, out: ms.Tensor, gradient: ms.Tensor) -> tuple[ms.Tensor]:  # noqa: ARG002
        return (self.ordered(gradient, self.back),)

    def ordered(self, x: ms.Tensor, order: tuple[int, ...]) -> ms.Tensor:
        count = len(order)
        if not self.gathers:
            return ops.transpose(x, order + tuple(range(count, x.ndim)))
        lead, rest = x.shape[:count], x.shape[count:]
        numbers = row_numbers(lead, order)
        rows = ops.gather(x.reshape(numbers.shape[0], -1), numbers, 0)
        shape: tuple[int, ...] = ()
        for axis in order:
            shape += (lead[axis],)
        return rows.reshape(shape + rest)
