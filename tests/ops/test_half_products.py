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
from mindvideo.execution.fingerprint import fingerprint
from mindvideo.execution.precision import apply_precision
from mindvideo.modules.heads.upscaled_mask import DoublingConvolution
from mindvideo.modules.layers.attention import MultiHeadAttention
from mindvideo.modules.layers.convolution import Conv2d, Convolution
from mindvideo.modules.layers.deform_attention import DeformableAttention
from mindvideo.modules.layers.linear import Linear
from mindvideo.ops.backend import backend, half_instructions
from mindvideo.ops.slices import swapped

DIGITS = 2.0**-8  # two factors, each wrong by at most 2^-9 of itself
needs_instructions = pytest.mark.skipif(
    backend() != "cpu" or half_instructions() == "none", reason="a processor without AMX and AVX512-BF16"
)


class Layers(nn.Cell):
    """Every layer that can: [1, 24, 40, 40] -> [1, 40, 40, 32]."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Convolution(24, 48, 3, stride=2)
        self.conv = Conv2d(48, 32, 1)
        self.attention = MultiHeadAttention(width=32, heads=4)
        self.deformable = DeformableAttention(width=32, num_levels=1, heads=4, num_points=2)
        self.linear = Linear(32, 32)
        self.doubling = DoublingConvolution(channels=32)

    def construct(self, x, places):
        tokens = swapped(self.conv(self.backbone(x)).reshape(1, 32, 400), 1, 2)
        tokens = tokens + self.attention(tokens, tokens, tokens)
        tokens = tokens + self.deformable(tokens, places, tokens, ((20, 20),))
        return self.doubling(self.linear(tokens).reshape(1, 20, 20, 32))


def filled() -> Layers:
    """With weights that let every layer matter, the same ones each time."""
    network, rng = Layers().set_train(False), np.random.default_rng(1)
    for parameter in network.get_parameters():
        scale = 1.0 / np.sqrt(max(1, np.prod(parameter.shape[1:])))
        parameter.set_data(ms.Tensor((scale * rng.standard_normal(parameter.shape)).astype(np.float32)))
    return network


def given() -> tuple[ms.Tensor, ms.Tensor]:
    """A map, and where each of the 400 tokens looks."""
    rng = np.random.default_rng(0)
    shapes = (rng.standard_normal((1, 24, 40, 40)), rng.random((1, 400, 1, 2)))
    return tuple(ms.Tensor(each.astype(np.float32)) for each in shapes)


def error_of(found: ms.Tensor, expected: ms.Tensor) -> float:
    assert found.dtype == ms.float32
    return float(np.abs((found - expected).asnumpy()).max() / np.abs(expected.asnumpy()).max())


@needs_instructions
@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE])
def test_layers_multiply_in_bfloat16(mode):
    ms.set_context(mode=mode)
    half = filled()
    assert len(apply_precision(half, "bf16", for_training=False)) == len(LAYERS)
    assert 1e-4 < error_of(half(*given()), filled()(*given())) < 8 * DIGITS  # eight products one after the other


LAYERS = {
    *("backbone.convolve", "conv.convolve", "attention", "attention.core", "attention.out_proj", "linear", "doubling"),
    *(f"deformable.{name}" for name in ("sampling_offsets", "attention_weights", "value_proj", "output_proj")),
}


@needs_instructions
@pytest.mark.parametrize("name", sorted(LAYERS))
def test_each_layer_by_itself(name):
    ms.set_context(mode=ms.PYNATIVE_MODE)
    whole, half = filled(), filled()
    dict(half.cells_and_names())[name].half_products = True
    assert 1e-5 < error_of(half(*given()), whole(*given())) < 4 * DIGITS


def test_a_graph_that_is_kept_is_not_taken_for_that_of_the_other_precision():
    whole, half = filled(), filled()
    assert fingerprint(whole) == fingerprint(half)
    precision.multiply_in_bfloat16(half)
    assert fingerprint(whole) != fingerprint(half)


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
