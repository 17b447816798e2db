"""Anti-aliased cubic resizing of small tables: a linear map, so one constant matrix for each axis and pair of sizes."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor, ops
from mindspore.ops import constexpr

from mindvideo.ops.slices import swapped

_SHARPNESS = -0.5  # Catmull-Rom, as Pillow and PyTorch's antialias=True; without anti-aliasing PyTorch takes -0.75


def cubic_matrix(length: int, new_length: int) -> np.ndarray:
    """float64 [new_length, length]: each row holds the weights of one new position; rows sum to 1."""
    scale = length / new_length
    support = max(scale, 1.0)  # shrinking widens the kernel; enlarging leaves it as it is
    matrix = np.zeros((new_length, length))
    for row in range(new_length):
        centre = scale * (row + 0.5)
        low = max(int(centre - 2.0 * support + 0.5), 0)
        high = min(int(centre + 2.0 * support + 0.5), length)
        weights = _kernel((np.arange(low, high) - centre + 0.5) / support)
        matrix[row, low:high] = weights / weights.sum()
    return matrix


def _kernel(t: np.ndarray) -> np.ndarray:
    a, t = _SHARPNESS, np.abs(t)
    near = ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
    far = ((t - 5.0) * t + 8.0) * a * t - 4.0 * a
    return np.where(t < 1.0, near, np.where(t < 2.0, far, 0.0))


@constexpr
def _constant_matrix(length: int, new_length: int) -> Tensor:
    return Tensor(cubic_matrix(length, new_length).astype(np.float32))


def resize_table(table: Tensor, size: tuple[int, int], new_size: tuple[int, int]) -> Tensor:
    """Rows of an (h, w) grid, table [h * w, C] -> [h' * w', C]; differentiable."""
    h, w = size
    new_h, new_w = new_size
    if h == new_h and w == new_w:
        return table
    C = table.shape[1]
    down = ops.matmul(_constant_matrix(h, new_h), table.reshape(h, w * C))  # [h', w * C]
    columns = swapped(down.reshape(new_h, w, C), 0, 1).reshape(w, new_h * C)
    across = ops.matmul(_constant_matrix(w, new_w), columns)  # [w', h' * C]
    return swapped(across.reshape(new_w, new_h, C), 0, 1).reshape(new_h * new_w, C)
