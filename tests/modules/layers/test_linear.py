"""The linear layer gives what MindSpore's does, to the bit."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindvideo.modules.layers.linear import Linear


@pytest.mark.parametrize("shape", [(5, 6), (2, 3, 4, 6)], ids=["rows", "maps"])
@pytest.mark.parametrize("has_bias", [True, False], ids=["bias", "no bias"])
def test_the_bits_are_those_of_dense(shape, has_bias):
    x = ms.Tensor(np.random.default_rng(0).standard_normal(shape), ms.float32)
    theirs, ours = nn.Dense(6, 7, has_bias=has_bias), Linear(6, 7, has_bias=has_bias)
    assert [p.name for p in ours.get_parameters()] == [p.name for p in theirs.get_parameters()]
    for parameter, other in zip(ours.get_parameters(), theirs.get_parameters()):
        parameter.set_data(ms.Tensor(other.asnumpy()))
    np.testing.assert_array_equal(ours(x).asnumpy(), theirs(x).asnumpy())
