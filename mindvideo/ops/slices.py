"""Parts of a tensor, and two of its axes swapped, by one primitive.

MindSpore compiles ``x[:, a:b]`` to twenty function graphs, ``x[i]`` to forty and ``x.swapaxes(a, b)`` to fourteen; in
the end they become one primitive. In code that runs for every frame, layer or level that is a good part of the time to
compile (docs/performance.md). The numbers, and those of the backward pass, are the same.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import ops
from mindspore.ops import constexpr

_slice, _reshape, _transpose = ops.StridedSlice(), ops.Reshape(), ops.Transpose()


@constexpr
def _bounds(shape: tuple[int, ...], axis: int, start: int, stop: int | None) -> tuple[tuple[int, ...], ...]:
    """First, last and step of every axis."""
    begin, end = [0] * len(shape), list(shape)
    begin[axis], end[axis], _ = slice(start, stop).indices(shape[axis])
    return tuple(begin), tuple(end), (1,) * len(shape)


@constexpr
def _bounds_of_one(shape: tuple[int, ...], axis: int, index: int) -> tuple[tuple[int, ...], ...]:
    begin, end = [0] * len(shape), list(shape)
    begin[axis] = range(shape[axis])[index]
    end[axis] = begin[axis] + 1
    return tuple(begin), tuple(end), (1,) * len(shape)


@constexpr
def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[: axis % len(shape)] + shape[axis % len(shape) + 1 :]


def part(x: ms.Tensor, axis: int, start: int, stop: int | None = None) -> ms.Tensor:
    """``x[..., start:stop, ...]`` along ``axis``; all three may count from the end, as in Python."""
    bounds = _bounds(x.shape, axis, start, stop)
    return _slice(x, bounds[0], bounds[1], bounds[2])


def at(x: ms.Tensor, axis: int, index: int) -> ms.Tensor:
    """``x[..., index, ...]`` along ``axis``, which the result has not; both may count from the end."""
    bounds = _bounds_of_one(x.shape, axis, index)
    return _reshape(_slice(x, bounds[0], bounds[1], bounds[2]), _without(x.shape, axis))


@constexpr
def _swapped_axes(shape: tuple[int, ...], first: int, second: int) -> tuple[int, ...]:
    axes = list(range(len(shape)))
    axes[first], axes[second] = axes[second], axes[first]
    return tuple(axes)


def swapped(x: ms.Tensor, first: int, second: int) -> ms.Tensor:
    """``x.swapaxes(first, second)``."""
    return _transpose(x, _swapped_axes(x.shape, first, second))
