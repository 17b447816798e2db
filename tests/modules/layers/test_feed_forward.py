"""GELU by the compiled library equals the formula, with its slope."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops
from scipy.special import ndtr

from mindvideo.modules.layers.feed_forward import exact_gelu
from mindvideo.ops.elementwise import is_native_gelu


class Gelu(nn.Cell):
    def construct(self, x):
        return exact_gelu(x)


@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE])
def test_gelu_and_its_slope(mode):
    ms.set_context(mode=mode)
    x = np.linspace(-9, 9, 3 * 7 * 11).astype(np.float32).reshape(3, 7, 11)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(Gelu()(ms.Tensor(x)).asnumpy(), wide * ndtr(wide), rtol=1e-5, atol=1e-6)
    slope = ndtr(wide) + wide * np.exp(-(wide**2) / 2) / np.sqrt(2 * np.pi)
    found = ms.grad(Gelu())(ms.Tensor(x))  # of the sum
    np.testing.assert_allclose(found.asnumpy(), slope, rtol=1e-5, atol=2e-6)


def test_half_types_go_to_the_operators_of_mindspore():
    assert not is_native_gelu((3, 4), ms.float16)
    x = ms.Tensor(np.linspace(-3, 3, 12).reshape(3, 4), ms.float16)
    assert ops.isfinite(exact_gelu(x)).all() and exact_gelu(x).dtype == ms.float16
