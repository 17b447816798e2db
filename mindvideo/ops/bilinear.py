"""Bilinear look-ups in a table of pixels, the step that deformable attention and deformable convolution share."""

from __future__ import annotations

from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype
from mindspore.ops import constexpr


def sample_rows(
    table: Tensor,
    base: Tensor,
    stride: int,
    y: Tensor,
    x: Tensor,
    height: int | Tensor,
    width: int | Tensor,
) -> Tensor:
    """Sample images that are stored as rows of `table` at pixel coordinates (`y`, `x`).

    table [R + 1, C] holds one pixel per row; its last row must be zero and stands for every pixel outside.
    base int32, of y's shape: the row of an image's pixel (0, 0). `stride`: rows between neighbouring pixels.
    y, x [...]: pixel coordinates, integer at pixel centres. height, width: the size of the image.
    Returns [..., C]. A position with y <= -1, x <= -1, y >= height or x >= width, or one that is not finite, gives 0
    and no gradient; the derivative at an integer position is the right-hand one. Gradients flow to table, y and x.
    """
    return _sampler(stride)(table, base, y, x, as_scalar(height), as_scalar(width))


def is_inside(y: Tensor, x: Tensor, height: int | Tensor, width: int | Tensor) -> Tensor:
    """True where a position touches the image; false for NaN. All bounds are strict."""
    return (y > -1).logical_and(x > -1).logical_and(y < height).logical_and(x < width)


def as_scalar(number: int | Tensor) -> Tensor:
    """An int32 tensor without axes."""
    if isinstance(number, Tensor):
        return number.astype(mstype.int32)
    return _constant(number)


@constexpr
def _constant(number: int) -> Tensor:
    return Tensor(number, mstype.int32)


@constexpr
def _sampler(stride: int) -> nn.Cell:
    return _Sampler(stride)


def spread(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x [...] repeated along a new last axis, [..., C].

    Said outright, because MindSpore's CPU kernels that broadcast by themselves keep four times the result's memory.
    """
    return ops.broadcast_to(ops.expand_dims(x, -1), shape)


def _corners(
    stride: int, outside: int, base: Tensor, y: Tensor, x: Tensor, height: Tensor, width: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of the corners (y0,x0) (y0,x1) (y1,x0) (y1,x1) and how far the position is from y0 and x0."""
    inside = is_inside(y, x, height, width)
    y = ops.select(inside, y, 0.0)
    x = ops.select(inside, x, 0.0)
    y0, x0 = ops.floor(y), ops.floor(x)
    row, column = y0.astype(mstype.int32), x0.astype(mstype.int32)
    top, bottom = inside.logical_and(row >= 0).logical_and(row < height), inside.logical_and(row + 1 < height)
    left, right = (column >= 0).logical_and(column < width), column + 1 < width
    first = base + (row * width + column) * stride
    rows = (
        ops.select(top.logical_and(left), first, outside),
        ops.select(top.logical_and(right), first + stride, outside),
        ops.select(bottom.logical_and(left), first + width * stride, outside),
        ops.select(bottom.logical_and(right), first + (width + 1) * stride, outside),
    )
    return rows, y - y0, x - x0


def _weights(low_y: Tensor, low_x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    high_y, high_x = 1.0 - low_y, 1.0 - low_x
    return high_y * high_x, high_y * low_x, low_y * high_x, low_y * low_x


class _Sampler(nn.Cell):
    """The gradient is written out, so that nothing but the inputs is kept for it: training memory stays bounded."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def construct(self, table: Tensor, base: Tensor, y: Tensor, x: Tensor, height: Tensor, width: Tensor) -> Tensor:
        rows, low_y, low_x = _corners(self.stride, table.shape[0] - 1, base, y, x, height, width)
        weights = _weights(low_y, low_x)
        output = ops.gather(table, rows[0], 0)
        output = output * spread(weights[0], output.shape)
        for k in range(1, 4):
            # One corner after the other: executed at once, the four look-ups would be in memory at once.
            row = ops.depend(rows[k], output)
            output = output + ops.gather(table, row, 0) * spread(weights[k], output.shape)
        return output

    def bprop(
        self,
        table: Tensor,
        base: Tensor,
        y: Tensor,
        x: Tensor,
        height: Tensor,
        width: Tensor,
        output: Tensor,
        gradient: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        rows, low_y, low_x = _corners(self.stride, table.shape[0] - 1, base, y, x, height, width)
        weights = _weights(low_y, low_x)
        channels = table.shape[1]
        gradient = gradient.reshape(-1, channels)
        dots: tuple[Tensor, ...] = ()
        shares: tuple[Tensor, ...] = ()
        for k in range(4):
            row = rows[k].reshape(-1)
            if k > 0:
                row = ops.depend(row, shares[k - 1])
            dots = (*dots, (ops.gather(table, row, 0) * gradient).sum(axis=1).reshape(y.shape))
            share = ops.depend(gradient, dots[k]) * spread(weights[k].reshape(-1), gradient.shape)
            shares = (*shares, ops.unsorted_segment_sum(share, row, table.shape[0]))
        grad_table = shares[0] + shares[1] + shares[2] + shares[3]
        grad_y = (1.0 - low_x) * (dots[2] - dots[0]) + low_x * (dots[3] - dots[1])
        grad_x = (1.0 - low_y) * (dots[1] - dots[0]) + low_y * (dots[3] - dots[2])
        return grad_table, base * 0, grad_y, grad_x, height * 0, width * 0
