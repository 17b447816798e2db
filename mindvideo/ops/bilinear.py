"""Bilinear look-ups in a table of pixels, the step that deformable attention and deformable convolution share."""

from __future__ import annotations

from mindspore import Tensor, ops
from mindspore import dtype as mstype


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
    base int32, broadcastable to y: the row of an image's pixel (0, 0). `stride`: rows between neighbouring pixels.
    y, x [...]: pixel coordinates, integer at pixel centres. height, width: the size of the image.
    Returns [..., C]. A position with y <= -1, x <= -1, y >= height or x >= width, or one that is not finite, gives 0
    and no gradient; the derivative at an integer position is the right-hand one.
    """
    inside = is_inside(y, x, height, width)
    zero = ops.zeros_like(y)
    y = ops.select(inside, y, zero)
    x = ops.select(inside, x, zero)
    y0 = ops.stop_gradient(ops.floor(y))
    x0 = ops.stop_gradient(ops.floor(x))
    low_y, low_x = y - y0, x - x0
    high_y, high_x = 1.0 - low_y, 1.0 - low_x
    row, column = y0.astype(mstype.int32), x0.astype(mstype.int32)
    outside = table.shape[0] - 1

    def corner(row: Tensor, column: Tensor, weight: Tensor) -> Tensor:
        valid = inside.logical_and(row >= 0).logical_and(column >= 0)
        valid = valid.logical_and(row < height).logical_and(column < width)
        index = base + (row * width + column) * stride
        index = ops.select(valid, index, ops.full_like(index, outside))
        return ops.gather(table, index, 0) * ops.expand_dims(weight, -1)

    return (
        corner(row, column, high_y * high_x)
        + corner(row, column + 1, high_y * low_x)
        + corner(row + 1, column, low_y * high_x)
        + corner(row + 1, column + 1, low_y * low_x)
    )


def is_inside(y: Tensor, x: Tensor, height: int | Tensor, width: int | Tensor) -> Tensor:
    """True where a position touches the image; false for NaN. All bounds are strict."""
    return (y > -1).logical_and(x > -1).logical_and(y < height).logical_and(x < width)
