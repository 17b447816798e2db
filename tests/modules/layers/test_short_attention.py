"""Attention of short sequences by the compiled library: the same numbers and gradients as in training."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from mindvideo.modules.layers.short_attention import ShortAttention

WIDTH, HEADS = 24, 3


def states(*shape: int) -> ms.Tensor:
    return ms.Tensor(np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32))


def absent(S: int) -> ms.Tensor:
    return ms.Tensor(np.arange(S)[None] >= S - 2)


class Packed(nn.Cell):
    """Query, key and value in one tensor."""

    def __init__(self):
        super().__init__()
        self.attention = ShortAttention(width=WIDTH, heads=HEADS, begins=(0, WIDTH, 2 * WIDTH))

    def construct(self, x, hidden):
        return self.attention(x, x, x, hidden)


class Squares(nn.Cell):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def construct(self, *given):
        return ops.sum(self.network(*given) ** 2)


@pytest.mark.parametrize("hidden", [None, absent(5)], ids=["all", "some absent"])
def test_a_pass_without_gradients_equals_one_in_training(hidden):
    network, x = Packed(), states(7, 5, 3 * WIDTH)
    expected = network.set_train(True)(x, hidden).asnumpy()
    np.testing.assert_allclose(network.set_train(False)(x, hidden).asnumpy(), expected, rtol=1e-5, atol=5e-6)


def test_one_tensor_holds_what_three_would():
    x = states(7, 5, 3 * WIDTH)
    apart = [part.contiguous() for part in x.split(WIDTH, -1)]
    for training in (True, False):
        expected = ShortAttention(width=WIDTH, heads=HEADS).set_train(training)(*apart).asnumpy()
        np.testing.assert_array_equal(Packed().set_train(training)(x, None).asnumpy(), expected)


def test_gradients_do_not_depend_on_the_mode():
    x = states(7, 5, 3 * WIDTH)
    found = [ms.grad(Squares(Packed()).set_train(training))(x, absent(5)).asnumpy() for training in (True, False)]
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5)
    assert np.abs(found[0]).max() > 0.1
