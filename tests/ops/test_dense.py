"""Attention by the compiled library equals that by MindSpore's operators, where it is used and where it is not."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from mindvideo.modules.layers.attention import MASKED, _AttentionCore
from mindvideo.ops.dense import is_native_attention

B, M, R, S, D = 2, 3, 29, 70, 20


@pytest.fixture
def given() -> list[ms.Tensor]:
    rng = np.random.default_rng(0)
    return [ms.Tensor(rng.standard_normal((B, M, rows, D)).astype(np.float32)) for rows in (R, S, S)]


def bias_of(kind: str) -> ms.Tensor:
    rng = np.random.default_rng(1)
    if kind == "none":
        return ms.Tensor(np.zeros((1, 1, 1, 1), np.float32))
    if kind == "padding":
        return ms.Tensor((rng.random((B, 1, 1, S)) < 0.4).astype(np.float32) * MASKED)
    return ms.Tensor(rng.standard_normal((1, 1, R, S)).astype(np.float32))


class Attended(nn.Cell):
    def __init__(self, *, training: bool, block_elements: int = 1 << 24) -> None:
        super().__init__()
        self.core = _AttentionCore(dropout=0.0, block_elements=block_elements)
        self.set_train(training)

    def construct(self, q: ms.Tensor, k: ms.Tensor, v: ms.Tensor, bias: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        return self.core(q, k, v, bias)


class Squares(nn.Cell):
    def __init__(self, attended: Attended) -> None:
        super().__init__()
        self.attended = attended

    def construct(self, q: ms.Tensor, k: ms.Tensor, v: ms.Tensor, bias: ms.Tensor) -> ms.Tensor:
        return ops.sum(self.attended(q, k, v, bias)[0] ** 2)


needs_library = pytest.mark.skipif(
    not is_native_attention((B, M, R, D), ms.float32), reason="no library, or a processor without AVX2"
)


@needs_library
@pytest.mark.parametrize("kind", ["none", "padding", "queries"])
def test_a_pass_without_gradients_equals_one_in_training(given, kind):
    bias = bias_of(kind)
    expected, kept, _ = Attended(training=True)(*given, bias)
    found, nothing, _ = Attended(training=False)(*given, bias)
    assert kept.shape == (B, M, R, S) and nothing.shape == (1,)  # the weights of the library's are in no tensor
    np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("block_elements", [1 << 24, B * M * S * 8])
@pytest.mark.parametrize("kind", ["none", "padding", "queries"])
def test_gradients_do_not_depend_on_the_mode(given, kind, block_elements):
    """A network in evaluation can be differentiated, too: its weights were not kept, so they are computed again."""
    bias = bias_of(kind)
    found = []
    for training in (True, False):
        squares = Squares(Attended(training=training, block_elements=block_elements)).set_train(training)
        found.append([each.asnumpy() for each in ms.grad(squares, (0, 1, 2))(*given, bias)])
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * np.abs(one).max())
        assert np.abs(one).max() > 0.01


def test_half_types_go_to_the_operators_of_mindspore():
    assert not is_native_attention((B, M, R, D), ms.float16) and not is_native_attention((0, M, R, D), ms.float32)
