"""Max pooling by the compiled library equals MindSpore's to the bit, and can be differentiated."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from mindvideo.modules.layers.pooling import MaxPool2d


def maps(height: int, width: int) -> ms.Tensor:
    return ms.Tensor(np.random.default_rng(0).standard_normal((2, 3, height, width)).astype(np.float32))


@pytest.mark.parametrize("size", [(8, 12), (9, 33), (1, 5)])
def test_a_pass_without_gradients_equals_one_in_training(size):
    pool = MaxPool2d(3, stride=2, padding=1)
    expected = pool.set_train(True)(maps(*size)).asnumpy()
    np.testing.assert_array_equal(pool.set_train(False)(maps(*size)).asnumpy(), expected)
    plain = nn.MaxPool2d(3, 2, pad_mode="pad", padding=1)
    np.testing.assert_array_equal(plain(maps(*size)).asnumpy(), expected)


def test_gradients_do_not_depend_on_the_mode():
    class Squares(nn.Cell):
        def __init__(self):
            super().__init__()
            self.pool = MaxPool2d(3, stride=2, padding=1)

        def construct(self, x):
            return ops.sum(self.pool(x) ** 2)

    found = [ms.grad(Squares().set_train(training))(maps(9, 12)).asnumpy() for training in (True, False)]
    np.testing.assert_array_equal(*found)
    assert np.abs(found[0]).max() > 0.1
