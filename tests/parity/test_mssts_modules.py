"""The two modules that the public MS-STS VIS code declares and never calls: values and gradients as the original's."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from mindvideo.modules.heads.patch_discriminator import PatchDiscriminator
from mindvideo.modules.layers.temporal_attention import TemporalAttention

TOLERANCE = 1e-5


class Modules:
    """The golden file: ``facts`` (the json), ``arrays`` (the npz), and what fills weights and inputs."""

    def __init__(self, golden: Path) -> None:
        folder = golden / "mssts" / "modules"
        self.facts: dict[str, Any] = json.loads((folder / "modules.json").read_text())
        self.arrays = np.load(folder / "modules.npz")
        reference = runpy.run_path(str(golden / "fill.py"))
        self.fill, self.make_input = reference["fill"], reference["make_input"]

    def fill_network(self, network: nn.Cell, kind: str) -> None:
        facts = self.facts[kind]
        shapes = {name: tuple(shape) for name, shape, _ in facts["manifest"]}
        assert shapes == {name: tuple(p.shape) for name, p in network.parameters_and_names()}
        for name, parameter in network.parameters_and_names():
            value = self.fill(facts["fill_name_prefix"] + name, parameter.shape, facts["fill_seed"])
            parameter.set_data(ms.Tensor(value.astype(np.float32)))

    def input(self, name: str, **bounds: float) -> np.ndarray:
        made = self.facts["discriminator"]["inputs"]["make_input"][name]
        return self.make_input(made["name"], made["shape"], made["seed"], **bounds).astype(np.float32)

    def assert_close(self, got: np.ndarray, name: str) -> None:
        """Largest difference, relative to the largest number of the original."""
        numbers, whole = self.arrays[name], self.facts["tensors"][name]
        assert np.prod(got.shape) == np.prod(whole["shape"])
        ours = got.reshape(-1)[:: whole["flat_stride"]]
        scale = np.abs(numbers).max()
        assert np.abs(ours - numbers).max() <= TOLERANCE * scale, name


@pytest.fixture(scope="module")
def modules(golden: Path) -> Modules:
    return Modules(golden)


def probability(logits: ms.Tensor) -> np.ndarray:
    return ops.sigmoid(logits).asnumpy()


def test_discriminator_values_and_gradients(modules):
    network = PatchDiscriminator(width=256)
    modules.fill_network(network, "discriminator")
    frames = ms.Tensor(modules.input("img"))
    features = tuple(ms.Tensor(modules.input(f"backbone{level}")) for level in range(3))
    real = ms.Tensor((modules.input("real", low=0, high=1) > 0.6).astype(np.float32))
    fake = ms.Tensor((1 / (1 + np.exp(-2 * modules.input("fake")))).astype(np.float32))

    def scores_as_fake(fine, mask):
        [logits] = network(frames, (fine, *features[1:]), mask)
        return ops.softplus(-logits).mean(), logits

    def mistakes(frames, fine, middle, coarse, real, fake):
        of_real, of_fake = network(frames, (fine, middle, coarse), real, fake)
        return ops.softplus(-of_real).mean() + ops.softplus(of_fake).mean(), of_real, of_fake

    facts = modules.facts["discriminator"]["NOT_ORIGINAL_losses"]
    (loss, of_fake), (of_fine, of_mask) = ms.value_and_grad(scores_as_fake, (0, 1), has_aux=True)(features[0], fake)
    modules.assert_close(probability(of_fake), "D_fake")
    modules.assert_close(of_mask.asnumpy(), "grad_fake_mask")
    modules.assert_close(of_fine.asnumpy(), "grad_backbone0")
    assert float(loss) == pytest.approx(facts["g_loss"], rel=TOLERANCE)

    weights = ms.ParameterTuple(network.get_parameters())
    differentiate = ms.value_and_grad(mistakes, None, weights, has_aux=True)
    (loss, of_real, _), gradients = differentiate(frames, *features, real, fake)
    modules.assert_close(probability(of_real), "D_real")
    modules.assert_close(of_real.asnumpy(), "real.block4")
    assert float(loss) == pytest.approx(facts["d_loss"], rel=TOLERANCE)
    wide = [gradient.asnumpy().astype(np.float64) for gradient in gradients]  # numpy loses digits of long float32 sums
    norms = {name: np.linalg.norm(g) for (name, _), g in zip(network.parameters_and_names(), wide)}
    assert norms == pytest.approx(facts["d_grad_norm"], rel=TOLERANCE)


def test_temporal_attention_values(modules):
    facts = modules.facts["temporal_attention"]
    network = TemporalAttention(width=facts["dim"], heads=facts["heads"])
    modules.fill_network(network, "temporal_attention")
    made = facts["make_input"]
    states = modules.make_input(made["name"], made["shape"], made["seed"]).astype(np.float32)
    modules.assert_close(network(ms.Tensor(states)).asnumpy(), "temporal_attention.out")
    # The original's form without projections: the input is query, key and value, and nothing follows.
    width = facts["dim"]
    network.qkv.weight.set_data(ms.Tensor(np.tile(np.eye(width, dtype=np.float32), (3, 1))))
    network.proj.weight.set_data(ms.Tensor(np.eye(width, dtype=np.float32)))
    network.proj.bias.set_data(ms.Tensor(np.zeros(width, np.float32)))
    modules.assert_close(network(ms.Tensor(states)).asnumpy(), "temporal_attention_noqkv.out")
