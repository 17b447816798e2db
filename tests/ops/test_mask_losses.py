"""Focal and dice loss of masks: the compiled library equals MindSpore's operators, and so do the gradients."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from mindvideo.modules.losses import mask
from mindvideo.modules.losses.mask import dice_per_mask, focal_per_mask
from mindvideo.ops.backend import backend

needs_library = pytest.mark.skipif(backend() != "cpu", reason="no compiled library")
gradients = ops.GradOperation(get_all=True, sens_param=True)


@ops.constexpr
def _never(shape, dtype):
    return False


class Losses(nn.Cell):
    """A cell for each way: MindSpore keeps the graph of a function that it has compiled."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def construct(self, logits, target):
        return focal_per_mask(logits, target, alpha=self.alpha) + 3.0 * dice_per_mask(logits, target)


@needs_library
@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE])
@pytest.mark.parametrize("alpha", [0.25, -1.0])
@pytest.mark.parametrize("shape", [(6, 300), (3, 6, 301), (2, 1, 4, 65)])
@pytest.mark.parametrize("repeats", [False, True])
def test_losses_and_their_gradients(mode, alpha, shape, repeats, monkeypatch):
    ms.set_context(mode=mode)
    rng = np.random.default_rng(0)
    logits = ms.Tensor((3 * rng.standard_normal(shape)).astype(np.float32))
    wanted = shape[1:] if repeats and len(shape) > 2 else shape
    target = ms.Tensor((rng.random(wanted) < 0.3).astype(np.float32))
    gradient = ms.Tensor(rng.standard_normal(shape[:-1]).astype(np.float32))
    native = Losses(alpha)
    found = [native(logits, target), gradients(native)(logits, target, gradient)[0]]
    monkeypatch.setattr(mask, "is_native_loss", _never)
    monkeypatch.setattr(mask, "focal_rows", None)
    monkeypatch.setattr(mask, "dice_rows", None)
    twin = Losses(alpha)
    expected = [twin(logits, target), gradients(twin)(logits, target, gradient)[0]]
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a.asnumpy(), b.asnumpy(), rtol=2e-5, atol=2e-7)


def test_another_gamma_is_left_to_the_operators():
    logits, target = ms.Tensor(np.array([[2.0, -1.0]], np.float32)), ms.Tensor(np.array([[0.0, 1.0]], np.float32))
    p = 1 / (1 + np.exp(-np.array([2.0, -1.0])))
    missed = np.array([p[0], 1 - p[1]])
    expected = (-np.log(1 - missed) * missed**3 * [0.75, 0.25]).mean()
    assert focal_per_mask(logits, target, gamma=3.0).asnumpy()[0] == pytest.approx(expected, rel=1e-6)
