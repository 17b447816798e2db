"""The deformable attention module against the published one: values, gradients and the initialisation."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from mindvideo.modules.layers.deform_attention import DeformableAttention

# float32 against the float64 of the golden files, relative to the largest number; sampling positions are kinks, and
# a gradient to a location is a difference of neighbouring pixels times the width of the map.
TOLERANCE = 2e-5


def cases(config) -> list[str]:
    manifest = Path(config.getoption("--golden")) / "ms_deform_attn" / "module_manifest.json"
    return sorted(json.loads(manifest.read_text()))


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", cases(metafunc.config))


class Projection(nn.Cell):
    """Sum of output times a given gradient, so that its derivative is the golden's."""

    def __init__(self, attention: DeformableAttention, spatial_shapes, grad_output: np.ndarray) -> None:
        super().__init__()
        self.attention, self.spatial_shapes = attention, spatial_shapes
        self.grad_output = ms.Tensor(grad_output)

    def construct(self, query, reference_points, source, padding):
        locations = self.attention.sampling_locations(query, reference_points, self.spatial_shapes)
        weights = self.attention.sampling_weights(query)
        value = self.attention.project(source, padding)
        output = self.attention(query, reference_points, source, self.spatial_shapes, padding)
        return (output * self.grad_output).sum(), (output, locations, weights, value)


def assert_close(name: str, got: np.ndarray, expected: np.ndarray, stride: int = 1) -> None:
    got = got.reshape(-1)[::stride]
    scale = np.abs(expected).max()
    error = np.abs(got - expected).max() / scale
    assert error < TOLERANCE, f"{name}: {error:.2e} of the largest value {scale:.3g}"


def test_module_equals_the_published_one(golden, case):
    folder = golden / "ms_deform_attn"
    facts = json.loads((folder / "module_manifest.json").read_text())[case]
    expected = np.load(folder / f"module_{case}.npz")
    reference = runpy.run_path(str(golden / "fill.py"))
    fill, make_input, seed = reference["fill"], reference["make_input"], facts["seed"]
    N, Lq, L, C = facts["N"], facts["Lq"], facts["n_levels"], facts["d_model"]
    spatial_shapes = tuple(tuple(shape) for shape in facts["shapes"])
    S = sum(h * w for h, w in spatial_shapes)
    attention = DeformableAttention(width=C, num_levels=L, heads=facts["n_heads"], num_points=facts["n_points"])
    check_initialisation(attention, expected)
    for name, shape in facts["state_dict"].items():
        parameter = attention.parameters_dict()[name]
        parameter.set_data(ms.Tensor(fill(f"{case}.{name}", shape, seed)))
    low, high = (0.0, 1.0) if facts["reference_dim"] == 2 else (0.1, 0.9)
    inputs = [
        make_input(f"{case}/query", (N, Lq, C), seed),
        make_input(f"{case}/reference_points", (N, Lq, L, facts["reference_dim"]), seed, low, high),
        make_input(f"{case}/input_flatten", (N, S, C), seed),
    ]
    padding = make_input(f"{case}/mask", (N, S), seed, 0, 1) < 0.25 if facts["padding_mask"] else np.zeros((N, S), bool)
    cell = Projection(attention, spatial_shapes, make_input(f"{case}/grad_out", (N, Lq, C), seed))
    weights = list(attention.trainable_params())
    ms.set_context(mode=ms.GRAPH_MODE)
    run = ms.value_and_grad(cell, grad_position=(0, 1, 2), weights=weights, has_aux=True)
    (_, outputs), (grad_inputs, grad_weights) = run(*map(ms.Tensor, inputs), ms.Tensor(padding))
    strides = {name: entry["flat_stride"] for name, entry in facts["tensors"].items()}
    for name, got in zip(("output", "sampling_locations", "attention_weights", "value"), outputs):
        assert_close(name, got.asnumpy(), expected[name], strides[name])
    for name, got in zip(("grad_query", "grad_reference_points", "grad_input_flatten"), grad_inputs):
        assert_close(name, got.asnumpy(), expected[name], strides[name])
    for parameter, got in zip(weights, grad_weights):
        norm = np.linalg.norm(got.asnumpy().astype(np.float64))
        name = parameter.name.removeprefix("attention.")
        assert norm == pytest.approx(float(expected[f"gradnorm.{name}"]), rel=TOLERANCE), name


def check_initialisation(attention: DeformableAttention, expected) -> None:
    for name in ("sampling_offsets.weight", "sampling_offsets.bias"):
        if f"init.{name}.head" in expected:
            head = expected[f"init.{name}.head"]
            got = attention.parameters_dict()[name].asnumpy().reshape(-1)[: head.size]
            np.testing.assert_allclose(got, head, atol=1e-6, err_msg=name)


def test_padding_hides_a_token_and_its_bias():
    attention = DeformableAttention(width=8, num_levels=1, heads=2, num_points=2)
    attention.value_proj.bias.set_data(ops.ones(8))
    source, query = ops.ones((1, 4, 8)), ops.ones((1, 3, 8))
    points = ops.full((1, 3, 1, 2), 0.5)
    hidden = attention(query, points, source, ((2, 2),), ops.ones((1, 4)).astype(ms.bool_))
    np.testing.assert_array_equal(hidden.asnumpy(), np.zeros((1, 3, 8), np.float32))
    assert np.abs(attention(query, points, source, ((2, 2),)).asnumpy()).max() > 0.01
