"""Deformable attention against the published kernel's numbers, values and gradients, on every backend here.

The first regular case is compiled; the others, of the same operators at other sizes, run operator by operator.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from mindvideo.ops import ms_deform_attn
from mindvideo.ops.ms_deform_attn_ref import ms_deform_attn_ref
from tests.modes import mode

RESULTS = ("output", "grad_value", "grad_sampling_locations", "grad_attention_weights")
INPUTS = (
    "value",
    "spatial_shapes",
    "level_start_index",
    "sampling_locations",
    "attention_weights",
    "grad_output",
)
# A multiple of the error that the published kernel makes in float32 itself, as the golden data's README says.
TOLERANCE = 4.0


@pytest.fixture(scope="module", params=["public", "reference"])
def implementation(request):
    return {"public": ms_deform_attn, "reference": ms_deform_attn_ref}[request.param]


@pytest.fixture(scope="module")
def folder(golden: Path) -> Path:
    return golden / "ms_deform_attn"


def regular_cases(folder: Path) -> list[tuple[dict, dict]]:
    """(entry of cases.json, its inputs)."""
    spec = importlib.util.spec_from_file_location("ms_deform_attn_inputs", folder / "inputs.py")
    inputs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(inputs)
    return [(case, inputs.make_case(case)) for case in json.loads((folder / "cases.json").read_text())]


@functools.cache
def differentiated(implementation, shapes: tuple, starts: tuple, *, tensor_levels: bool, compiled: bool):
    """Values and gradients; cached, because compiling takes longer than running."""
    levels = (Tensor(shapes, ms.int64), Tensor(starts, ms.int64)) if tensor_levels else (shapes, starts)

    def weighted_sum(value, locations, weights, gradient):
        output = implementation(value, levels[0], levels[1], locations, weights)
        return (output * gradient).sum(), output

    with mode(compiled=compiled):
        step = ms.value_and_grad(weighted_sum, (0, 1, 2), has_aux=True)
    return ms.jit(step) if compiled else step


def run(
    implementation, inputs: list[np.ndarray], *, tensor_levels: bool = False, compiled: bool = False
) -> dict[str, np.ndarray]:
    """Output and gradients; levels as Python numbers, or as tensors."""
    value, shapes, starts, locations, weights, gradient = inputs
    levels = tuple(map(tuple, shapes.tolist())), tuple(starts.tolist())
    step = differentiated(implementation, *levels, tensor_levels=tensor_levels, compiled=compiled)
    with mode(compiled=compiled):
        (_, output), gradients = step(Tensor(value), Tensor(locations), Tensor(weights), Tensor(gradient))
    return dict(zip(RESULTS, [output.asnumpy(), *(g.asnumpy() for g in gradients)]))


def test_regular_cases(implementation, folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    for number, (case, inputs) in enumerate(regular_cases(folder)):
        results = run(implementation, [inputs[name] for name in INPUTS], compiled=number == 0)
        expected = np.load(folder / f"{case['name']}.npz")
        for name in RESULTS:
            facts = manifest[case["name"]][name]
            assert list(results[name].shape) == facts["shape"]
            error = np.abs(results[name].reshape(-1)[:: facts["flat_stride"]] - expected[name].reshape(-1)).max()
            assert error <= TOLERANCE * facts["f32_kernel_max_abs_err"], (case["name"], name, error)


@pytest.mark.parametrize("name", ["borders", "zero_size_levels"])
def test_borders_and_empty_levels(implementation, folder, name):
    stored = np.load(folder / f"{name}.npz")
    results = run(implementation, [stored[key] for key in INPUTS])
    for key in RESULTS:
        np.testing.assert_allclose(results[key], stored[key], rtol=1e-5, atol=2e-6, err_msg=key)


def test_borders_differ_from_grid_sample(implementation, folder):
    """The published kernel ignores a position exactly one pixel outside; grid_sample gives it a gradient."""
    stored = np.load(folder / "borders.npz")
    ours = run(implementation, [stored[key] for key in INPUTS])["grad_sampling_locations"]
    theirs = stored["grid_sample_grad_sampling_locations"]
    differ = np.abs(theirs - stored["grad_sampling_locations"]).max(-1) > 1e-3
    assert differ.sum() > 0
    assert (ours[differ] == 0).all()


@pytest.mark.parametrize(
    "prefix, value, weights",
    [
        ("a", "value", "attention_weights"),
        ("b", "value_nan", "attention_weights"),
        ("c", "value", "attention_weights_bad"),
    ],
)
def test_special_values(implementation, folder, prefix, value, weights):
    """Locations that are not finite contribute nothing; NaN in values and weights reaches what it touches, no more."""
    stored = np.load(folder / "special_values.npz")
    names = {"value": value, "attention_weights": weights}
    results = run(implementation, [stored[names.get(key, key)] for key in INPUTS])
    for key in RESULTS:
        np.testing.assert_allclose(results[key], stored[f"{prefix}_{key}"], rtol=1e-5, atol=2e-6, err_msg=key)


def test_levels_as_tensors(implementation, folder):
    case, inputs = regular_cases(folder)[0]
    fixed = run(implementation, [inputs[name] for name in INPUTS], compiled=True)
    given = run(implementation, [inputs[name] for name in INPUTS], tensor_levels=True, compiled=True)
    for key in RESULTS:
        np.testing.assert_array_equal(fixed[key], given[key])
