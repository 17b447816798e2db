"""Maps that join a finer one, and masks of each query's own network: the compiled library equals the operators."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from mindvideo.modules.heads.dynamic_mask import DynamicMasks, parameter_count
from mindvideo.ops import masks
from mindvideo.ops.backend import backend
from mindvideo.ops.masks import join_nearest

needs_library = pytest.mark.skipif(backend() != "cpu", reason="no compiled library")
modes = pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE])
gradients = ops.GradOperation(get_all=True, sens_param=True)


@ops.constexpr
def _never(shape, dtype):
    return False


def numbers(seed: int, *shapes: tuple[int, ...]) -> list[ms.Tensor]:
    rng = np.random.default_rng(seed)
    return [ms.Tensor(rng.standard_normal(shape).astype(np.float32)) for shape in shapes]


class Joined(nn.Cell):
    """A cell for each way: MindSpore keeps the graph of a function that it has compiled."""

    def construct(self, x, fine):
        return join_nearest(x, fine)


@needs_library
@modes
@pytest.mark.parametrize("queries", [1, 3])
def test_joined_maps_and_their_gradients(mode, queries, monkeypatch):
    ms.set_context(mode=mode)
    x, fine, gradient = numbers(0, (2 * queries, 3, 5, 7), (2, 3, 9, 14), (2 * queries, 3, 9, 14))
    native = Joined()
    found = [native(x, fine), *gradients(native)(x, fine, gradient)]
    monkeypatch.setattr(masks, "is_native_join", _never)
    monkeypatch.setattr(masks, "_join_op", None)
    twin = Joined()
    expected = [twin(x, fine), *gradients(twin)(x, fine, gradient)]
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a.asnumpy(), b.asnumpy(), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found[0].asnumpy(), expected[0].asnumpy())


@needs_library
@modes
def test_masks_of_each_query_and_their_gradients(mode):
    """In training by MindSpore's operators, otherwise by the library."""
    ms.set_context(mode=mode)
    features, parameters, references, gradient = numbers(
        1, (2, 8, 9, 14), (2, 5, parameter_count(8)), (2, 5, 2), (2, 5, 18, 28)
    )
    given = (features, parameters, references * 30)
    results = []
    for training in (True, False):
        network = DynamicMasks(feature_channels=8).set_train(training)
        results.append([network(*given), *gradients(network)(*given, gradient)])
    for a, b in zip(*results):
        np.testing.assert_allclose(a.asnumpy(), b.asnumpy(), rtol=1e-5, atol=1e-6 * np.abs(a.asnumpy()).max())
