"""Leading axes in another order: the numbers of a transposition, and its gradient."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from mindvideo.modules.layers.row_order import LeadingAxes


@pytest.mark.parametrize("order", [(0, 2, 1), (2, 0, 3, 1)])
def test_leading_axes_equal_a_transposition_forward_and_backward(order):
    ms.set_context(mode=ms.GRAPH_MODE)
    rng = np.random.default_rng(0)
    shape = (2, 3, 4, 5, 2)
    axes = (*order, *range(len(order), len(shape)))
    x = rng.standard_normal(shape).astype(np.float32)
    factors = rng.standard_normal(np.transpose(x, axes).shape).astype(np.float32)
    layer = LeadingAxes(*order)

    class Scored(ms.nn.Cell):
        def __init__(self):
            super().__init__()
            self.layer, self.factors = layer, ms.Tensor(factors)

        def construct(self, values):
            ordered = self.layer(values)
            return (ordered * self.factors).sum(), ordered

    (_, ordered), gradient = ms.value_and_grad(Scored(), 0, None, has_aux=True)(ms.Tensor(x))[0:2]
    np.testing.assert_array_equal(ordered.asnumpy(), np.transpose(x, axes))
    np.testing.assert_array_equal(gradient.asnumpy(), np.transpose(factors, np.argsort(axes)))
