"""The leading axes of a tensor in another order, by gathering rows."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops

_reshape, _gather = ops.Reshape(), ops.Gather()


@ops.constexpr
def row_numbers(lead: tuple[int, ...], order: tuple[int, ...]) -> ms.Tensor:
    """Which row of the leading axes ``lead`` stands where after they are put in ``order``: int32 [rows]."""
    rows = np.arange(np.prod(lead), dtype=np.int32).reshape(lead)
    return ms.Tensor(np.ascontiguousarray(rows.transpose(order)).reshape(-1))


@ops.constexpr
def rows_shape(shape: tuple[int, ...], count: int) -> tuple[int, int]:
    """The first ``count`` axes as one, and the others as one."""
    return int(np.prod(shape[:count])), -1


@ops.constexpr
def ordered_shape(shape: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` with its leading axes in ``order``."""
    return (*(shape[axis] for axis in order), *shape[len(order) :])


@ops.constexpr
def leading(shape: tuple[int, ...], count: int) -> tuple[int, ...]:
    return shape[:count]


@ops.constexpr
def all_axes(order: tuple[int, ...], rank: int) -> tuple[int, ...]:
    return (*order, *range(len(order), rank))


class LeadingAxes(nn.Cell):
    """As ``x.transpose(*order, ...)``: the leading axes come in ``order``, those after them stay where they are.

    MindSpore's transposition on CPU keeps eight bytes for every number of x until the process ends, here and once more
    in the backward pass; gathered rows leave nothing. That is for training, where every layer would keep its own: a
    pass without gradients transposes, which is faster. Other devices transpose.
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
        shape, count = x.shape, len(self.order)
        if not (self.gathers and self.training):
            return ops.transpose(x, all_axes(order, x.ndim))
        rows = _gather(_reshape(x, rows_shape(shape, count)), row_numbers(leading(shape, count), order), 0)
        return _reshape(rows, ordered_shape(shape, order))
