"""Parts of a tensor are those that Python's brackets give, in a graph and for the gradient."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn

from mindvideo.ops.slices import at, part


class Pieces(nn.Cell):
    def construct(self, x):
        return part(x, 1, 1, 3), part(x, -1, -2), part(x, 0, 0, -1), at(x, 0, -1), at(x, -1, 0), at(x, 1, 2)


class Weighed(nn.Cell):
    """A number whose gradient says how often every element was read, and by which piece."""

    def __init__(self, pieces: nn.Cell) -> None:
        super().__init__()
        self.pieces = pieces

    def construct(self, x):
        total = ms.Tensor(0.0, ms.float32)
        for number, piece in enumerate(self.pieces(x)):
            total = total + 10.0**number * piece.sum()
        return total


def read_by_numpy(x: np.ndarray) -> tuple[np.ndarray, ...]:
    return x[:, 1:3], x[..., -2:], x[:-1], x[-1], x[..., 0], x[:, 2]


def test_pieces_and_their_gradient():
    x = np.arange(2 * 4 * 3, dtype=np.float32).reshape(2, 4, 3)
    pieces = Pieces()
    for given, expected in zip(pieces(ms.Tensor(x)), read_by_numpy(x)):
        np.testing.assert_array_equal(given.asnumpy(), expected)
    read = np.zeros_like(x)
    for number, piece in enumerate(read_by_numpy(read)):
        piece += np.float32(10.0**number)
    np.testing.assert_array_equal(ms.grad(Weighed(pieces))(ms.Tensor(x)).asnumpy(), read)
