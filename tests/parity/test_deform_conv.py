"""Deformable convolution against the published kernel's numbers, values and gradients.

The published size is compiled; the small ones run operator by operator.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from mindvideo.ops import deform_conv2d
from mindvideo.ops.deform_conv_ref import deform_conv2d_ref
from tests.modes import mode

RESULTS = ("output", "grad_input", "grad_offset", "grad_weight")
INPUTS = ("input", "offset", "weight", "grad_output")


@pytest.fixture(scope="module", params=["public", "reference"])
def implementation(request):
    return {"public": deform_conv2d, "reference": deform_conv2d_ref}[request.param]


def run(implementation, inputs: list[np.ndarray], unit: dict, *, compiled: bool) -> list[np.ndarray]:
    def weighted_sum(x, offset, weight, gradient):
        output = implementation(x, offset, weight, unit["stride"], unit["padding"], unit["dilation"])
        return (output * gradient).sum(), output

    with mode(compiled=compiled):
        step = ms.value_and_grad(weighted_sum, (0, 1, 2), has_aux=True)
        (_, output), gradients = (ms.jit(step) if compiled else step)(*(Tensor(a.astype(np.float32)) for a in inputs))
    return [output.asnumpy(), *(g.asnumpy() for g in gradients)]


def generated_inputs(golden: Path, units: dict, tag: str) -> list[np.ndarray]:
    """The inputs that units.json describes as calls of fill.py."""
    spec = importlib.util.spec_from_file_location("golden_fill", golden / "fill.py")
    fill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fill)
    seeds = {"make_input": units["input_seed"], "fill": units["fill_seed"]}
    arrays = []
    for key in INPUTS:
        function, name, shape = units["units"]["dcn"][tag][key]
        arrays.append(getattr(fill, function)(name, shape, seeds[function]))
    return arrays


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1.0))


@pytest.mark.parametrize("tag", ["small", "borders", "zero_offset"])
def test_stored_inputs(implementation, golden, tag):
    unit = json.loads((golden / "vistr" / "units.json").read_text())["units"]["dcn"]
    stored = np.load(golden / "vistr" / f"unit_dcn_{tag}.npz")
    for name, ours in zip(RESULTS, run(implementation, [stored[key] for key in INPUTS], unit, compiled=False)):
        assert ours.shape == stored[name].shape
        assert relative_error(ours, stored[name]) < 1e-6, name


def test_official_shape(implementation, golden):
    units = json.loads((golden / "vistr" / "units.json").read_text())
    facts = json.loads((golden / "vistr" / "unit_dcn.json").read_text())["official"]["tensors"]
    stored = np.load(golden / "vistr" / "unit_dcn_official.npz")
    inputs = generated_inputs(golden, units, "official")
    results = run(implementation, inputs, units["units"]["dcn"], compiled=True)
    for name, ours in zip(RESULTS, results):
        assert list(ours.shape) == facts[name]["shape"]
        thinned = ours.reshape(-1)[:: facts[name]["flat_stride"]]
        assert relative_error(thinned, stored[name].reshape(-1)) < 2e-6, name
