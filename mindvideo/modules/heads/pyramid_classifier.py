"""Classes from the coarse shape of a mask: its maxima on an 8 x 8 grid, and one dense layer."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.modules.layers.linear import Linear

CELLS = 8  # a side of the grid
EMPTY = -1e30  # below every logit


class PyramidClassifier(nn.Cell):
    """Mask logits [B, Q, T, h, w] -> class logits [B, Q, T, K]."""

    def __init__(self, *, num_logits: int) -> None:
        super().__init__()
        self.classify = Linear(CELLS * CELLS, num_logits)

    def construct(self, masks: ms.Tensor) -> ms.Tensor:
        return self.classify(grid_maxima(masks))


def grid_maxima(maps: ms.Tensor) -> ms.Tensor:
    """[..., h, w] -> the maxima of the cells of an 8 x 8 grid [..., 64], row by row.

    Cells are ceil(h / 8) rows high, and the grid lies around the centre of the map. A cell that the map does not reach
    holds 0: that happens below 8 rows or columns and at a few sizes up to 49.
    """
    # PARITY(gmpvis): the released code pools the map on grids of 1 to 8 cells a side and returns the last one only; at
    # the sizes where a cell is empty it stops.
    *front, h, w = maps.shape
    rows, columns = -(-h // CELLS), -(-w // CELLS)
    more_rows, more_columns = rows * CELLS - h, columns * CELLS - w
    top, left = (more_rows + 1) // 2, (more_columns + 1) // 2
    flat = around(maps.reshape(-1, h, w), 1, top, more_rows - top)
    flat = around(flat, 2, left, more_columns - left)
    cells = ops.amax(flat.reshape(-1, CELLS, rows, CELLS, columns), (2, 4))  # [., 8, 8]
    cells = ops.select(cells > EMPTY / 2, cells, ops.zeros_like(cells))
    return cells.reshape(*front, CELLS * CELLS)


def around(maps: ms.Tensor, axis: int, before: int, after: int) -> ms.Tensor:
    """``maps`` with EMPTY along an axis; by concatenation: the padding of MindSpore 2.10 can hang on a CPU."""
    parts: tuple[ms.Tensor, ...] = (maps,)
    if before > 0:
        parts = (empty_like(maps, axis, before), *parts)
    if after > 0:
        parts = (*parts, empty_like(maps, axis, after))
    return ops.cat(parts, axis)


def empty_like(maps: ms.Tensor, axis: int, count: int) -> ms.Tensor:
    shape = list(maps.shape)
    shape[axis] = count
    return ops.full(tuple(shape), EMPTY, dtype=maps.dtype)
