"""The linear layer gives what MindSpore's does: few rows to the bit, many but for rounding."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from mindvideo.modules.layers.linear import Linear
from mindvideo.ops.dense import MIN_ROWS, is_native_layer


@pytest.mark.parametrize("shape", [(5, 6), (2, 3, 4, 6)], ids=["rows", "maps"])
@pytest.mark.parametrize("has_bias", [True, False], ids=["bias", "no bias"])
def test_the_bits_are_those_of_dense(shape, has_bias):
    x = ms.Tensor(np.random.default_rng(0).standard_normal(shape), ms.float32)
    theirs, ours = nn.Dense(6, 7, has_bias=has_bias), Linear(6, 7, has_bias=has_bias)
    assert [p.name for p in ours.get_parameters()] == [p.name for p in theirs.get_parameters()]
    for parameter, other in zip(ours.get_parameters(), theirs.get_parameters()):
        parameter.set_data(ms.Tensor(other.asnumpy()))
    np.testing.assert_array_equal(ours(x).asnumpy(), theirs(x).asnumpy())


needs_library = pytest.mark.skipif(
    not is_native_layer((MIN_ROWS, 6), ms.float32), reason="no library, or a processor without AVX2"
)


class Squares(nn.Cell):
    def __init__(self, layer: nn.Cell) -> None:
        super().__init__()
        self.layer = layer

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return ops.sum(self.layer(x) ** 2)


@needs_library
@pytest.mark.parametrize("has_bias", [True, False], ids=["bias", "no bias"])
def test_many_rows_go_through_the_library(has_bias):
    """Equal but for rounding, with their gradients, in training and in evaluation."""
    x = ms.Tensor(np.random.default_rng(0).standard_normal((2, MIN_ROWS, 40)), ms.float32)
    theirs, ours = nn.Dense(40, 50, has_bias=has_bias), Linear(40, 50, has_bias=has_bias)
    for parameter, other in zip(ours.get_parameters(), theirs.get_parameters()):
        parameter.set_data(ms.Tensor(other.asnumpy() + 0.1))
        other.set_data(ms.Tensor(parameter.asnumpy()))
    expected = theirs(x).asnumpy()
    found = ours(x).asnumpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert (found != expected).any(), "the library sums in another order: it was not asked"
    for training in (True, False):
        for layer in (ours, theirs):
            layer.set_train(training)
        gradients = [ms.grad(Squares(layer), 0, layer.trainable_params())(x) for layer in (ours, theirs)]
        (of_x, of_weights), (of_x_expected, of_weights_expected) = gradients
        for one, other in zip((of_x, *of_weights), (of_x_expected, *of_weights_expected)):
            limit = 1e-4 * np.abs(other.asnumpy()).max()
            np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=1e-4, atol=limit)
