"""Layers that multiply in bfloat16 give what they give in float32, to the digits that bfloat16 has; or are refused."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindvideo import load_config
from mindvideo.assembly.predictor import build_tracker
from mindvideo.errors import UserError
from mindvideo.execution import precision
from mindvideo.execution.precision import apply_precision
from mindvideo.modules.layers.attention import MultiHeadAttention
from mindvideo.modules.layers.convolution import Conv2d, Convolution
from mindvideo.modules.layers.linear import Linear
from mindvideo.ops.backend import backend, half_instructions

DIGITS = 2.0**-8  # two factors, each wrong by at most 2^-9 of itself
needs_instructions = pytest.mark.skipif(
    backend() != "cpu" or half_instructions() == "none", reason="a processor without AMX and AVX512-BF16"
)


class Layers(nn.Cell):
    """A strided convolution, one with a bias, attention, a linear layer: [1, 24, 40, 40] -> [1, 400, 7]."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Convolution(24, 48, 3, stride=2)
        self.conv = Conv2d(48, 32, 1)
        self.attention = MultiHeadAttention(width=32, heads=4)
        self.linear = Linear(32, 7)

    def construct(self, x):
        tokens = self.conv(self.backbone(x)).reshape(1, 32, -1).swapaxes(1, 2)
        return self.linear(tokens + self.attention(tokens, tokens, tokens))


@needs_instructions
@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE])
def test_layers_multiply_in_bfloat16(mode):
    ms.set_context(mode=mode)
    whole, half = Layers().set_train(False), Layers().set_train(False)
    for mine, its in zip(half.get_parameters(), whole.get_parameters()):
        mine.set_data(its)
    changed = apply_precision(half, "bf16", for_training=False)
    assert set(changed) == {
        "backbone.convolve",
        "conv.convolve",
        "attention",
        "attention.out_proj",
        "attention.core",
        "linear",
    }
    x = ms.Tensor(np.random.default_rng(0).standard_normal((1, 24, 40, 40)).astype(np.float32))
    expected, found = whole(x).asnumpy(), half(x).asnumpy()
    assert found.dtype == np.float32
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert 1e-5 < error < 4 * DIGITS  # four products one after the other


def test_a_processor_without_the_instructions_is_refused_in_words(monkeypatch):
    monkeypatch.setattr(precision, "backend", lambda: "cpu")
    monkeypatch.setattr(precision, "half_instructions", lambda: "none")
    with pytest.raises(UserError, match="this processor has no instructions for it .AMX or AVX512-BF16.*choose fp32"):
        apply_precision(Layers(), "bf16", for_training=False)


def test_without_the_library_bf16_is_refused_in_words(monkeypatch):
    monkeypatch.setattr(precision, "backend", lambda: "reference")
    with pytest.raises(UserError, match="needs the native operators.*mindvideo ops build.*or choose fp32"):
        apply_precision(Layers(), "bf16", for_training=False)


@needs_instructions
def test_a_model_in_bfloat16_sees_what_it_sees_in_float32():
    ms.set_context(mode=ms.PYNATIVE_MODE)
    image = ms.Tensor(np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8))
    seen = {}
    for kind in ("fp32", "bf16"):
        ms.set_seed(0)
        tracker = build_tracker(load_config("instanceformer_toy", [f"inference.precision={kind}"]), weights=None)
        seen[kind], _ = tracker.step.observe(image, tracker.step.initial_state())
    assert not np.array_equal(seen["fp32"].mask_logits, seen["bf16"].mask_logits)
    np.testing.assert_allclose(seen["bf16"].probabilities, seen["fp32"].probabilities, atol=0.02)
    same = (seen["bf16"].mask_logits > 0) == (seen["fp32"].mask_logits > 0)
    assert same.mean() > 0.98
