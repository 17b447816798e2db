"""The checks of the CUDA library, on a card or emulated: those of checks.py, half types, edges, the CPU's numbers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import checks
import numpy as np
from aot_call import OperatorError

KINDS = ("float32", "float16", "bfloat16")
DETERMINISTIC = "MINDVIDEO_DETERMINISTIC"
# x, offset, weight as sizes; stride, padding, dilation: fewer and more channels and outputs than one tile holds.
CONVOLUTIONS = (
    ((2, 3, 7, 9), (5, 3, 3), (1, 1, 1)),
    ((1, 20, 11, 8), (40, 3, 3), (1, 1, 1)),
    ((2, 17, 9, 12), (33, 3, 3), (2, 1, 1)),
    ((1, 4, 10, 10), (3, 3, 3), (1, 2, 2)),
    ((3, 16, 1, 70), (32, 1, 1), (1, 0, 1)),
    ((1, 2, 6, 5), (1, 2, 3), (1, 1, 1)),
)


@contextlib.contextmanager
def deterministic(mode: str) -> Iterator[None]:
    """MINDVIDEO_DETERMINISTIC for a while; the library reads it at every call."""
    before = os.environ.get(DETERMINISTIC)
    os.environ[DETERMINISTIC] = mode
    try:
        yield
    finally:
        os.environ.pop(DETERMINISTIC)
        if before is not None:
            os.environ[DETERMINISTIC] = before


def attention_inputs(seed: int, D: int = 8, queries: int = 40) -> list[np.ndarray]:
    """A small problem; many queries read the same pixels, so that their gradients meet."""
    rng = np.random.default_rng(seed)
    shapes = np.array([(5, 7), (2, 3)], np.int32)
    starts = np.array([0, 35], np.int32)
    locations = rng.random((2, queries, 3, 2, 4, 2), np.float32) * 1.4 - 0.2
    value, gradient = (rng.standard_normal(s, np.float32) for s in ((2, 41, 3, D), (2, queries, 3 * D)))
    return [value, shapes, starts, locations, rng.random(locations.shape[:-1], np.float32), gradient]


def check_repeatable(call: checks.Call) -> int:
    """Deterministic mode gives the same bits twice, whatever order the threads ran in."""
    with deterministic("1"):
        for D in (8, 3):
            first, second = (checks.attention(call, attention_inputs(5, D)) for _ in range(2))
            assert all(np.array_equal(first[key], second[key]) for key in first)
        inputs = convolution_inputs(*CONVOLUTIONS[0])
        once, again = (checks.convolution(call, *inputs) for _ in range(2))
        assert all(np.array_equal(a, b) for a, b in zip(once, again))
    return 3


def convolution_inputs(x: tuple, weight: tuple, geometry: tuple) -> list:
    rng = np.random.default_rng(sum(x))
    (B, C, H, W), (outputs, kh, kw), (stride, padding, dilation) = x, weight, geometry
    Ho, Wo = ((size + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for size, k in ((H, kh), (W, kw)))
    offset = rng.standard_normal((B, 2 * kh * kw, Ho, Wo), np.float32) * 2
    arrays = [rng.standard_normal(s, np.float32) for s in (x, (outputs, C, kh, kw), (B, outputs, Ho, Wo))]
    return [arrays[0], offset, arrays[1], arrays[2], geometry]


def check_against(call: checks.Call, reference: checks.Call) -> int:
    """Equal to the CPU library within rounding, in shapes that the goldens have not; returns the number of cases."""
    for case in CONVOLUTIONS:
        inputs = convolution_inputs(*case)
        for ours, theirs in zip(checks.convolution(call, *inputs), checks.convolution(reference, *inputs)):
            assert np.abs(ours - theirs).max() <= 1e-5 * max(np.abs(theirs).max(), 1), f"deformable convolution {case}"
    for seed, D in ((0, 1), (1, 4), (2, 24), (3, 130)):
        inputs = attention_inputs(seed, D, queries=9)
        found, expected = (checks.attention(which, inputs) for which in (call, reference))
        for name, theirs in expected.items():
            assert np.abs(found[name] - theirs).max() <= 1e-5 * max(np.abs(theirs).max(), 1), f"{name} D={D}"
    return len(CONVOLUTIONS) + 4


def _close(ours: np.ndarray, theirs: np.ndarray, kind: str, message: str) -> None:
    limit = {"float16": 4e-3, "bfloat16": 3e-2}[kind] * max(np.abs(theirs).max(), 1)
    error = np.abs(checks.widened(ours).reshape(theirs.shape) - theirs).max()
    assert error <= limit, f"{message} {kind}: error {error}, allowed {limit}"


def check_half_norms(call: checks.Call, kind: str) -> int:
    """Normalisation of half floats, weights in float32 and in the same type, against float64 of the rounded inputs."""
    rng = np.random.default_rng(6)
    epsilon, cases = np.array([1e-5], np.float32), 0
    for of_vectors in ("float32", kind):
        for rows, C in ((5, 7), (9, 64), (2, 264)):
            x, more, gradient = (checks.stored(rng.standard_normal((rows, C)) + 1, kind) for _ in range(3))
            weight, bias = (checks.stored(rng.standard_normal(C), of_vectors) for _ in range(2))
            for extra in ([], [more]):
                total = np.sum([checks.widened(a) for a in (x, *extra)], axis=0).astype(np.float64)
                w, b, g = (checks.widened(a) for a in (weight, bias, gradient))
                expected = checks.layer_norm_numbers(total, w, b, g, 1e-5)
                prefix = "Residual" if extra else ""
                (y,) = call(f"{prefix}LayerNormForward", [x, *extra, weight, bias, epsilon], [(x.shape, x.dtype)])
                wanted = [(x.shape, x.dtype), ((C,), weight.dtype), ((C,), weight.dtype)]
                results = [y, *call(f"{prefix}LayerNormBackward", [x, *extra, weight, epsilon, gradient], wanted)]
                for ours, theirs in zip(results, expected):
                    _close(ours, theirs, kind, f"layer norm {rows}x{C}")
                cases += 1
        for B, C, groups, positions, relu in ((2, 6, 3, 5, 0), (1, 8, 2, 300, 1)):
            x, gradient = (checks.stored(rng.standard_normal((B, C, positions)) + 1, kind) for _ in range(2))
            weight, bias = (checks.stored(rng.standard_normal(C), of_vectors) for _ in range(2))
            options = np.array([groups, 1e-5, relu], np.float32)
            (y,) = call("GroupNormForward", [x, weight, bias, options], [(x.shape, x.dtype)])
            wanted = [(x.shape, x.dtype), ((C,), weight.dtype), ((C,), weight.dtype)]
            results = [y, *call("GroupNormBackward", [x, weight, bias, options, gradient], wanted)]
            numbers, w, b, g = (checks.widened(a) for a in (x, weight, bias, gradient))
            for ours, theirs in zip(results, checks.group_norm_numbers(numbers, w, b, g, groups, relu)):
                _close(ours, theirs, kind, f"group norm {B}x{C}x{positions}")
            cases += 1
    return cases


def check_conversions(call: checks.Call) -> int:
    """Every half number is read exactly, and what is written is rounded to the nearest, ties to even."""
    shapes, starts = np.array([(1, 1)], np.int32), np.zeros(1, np.int32)
    location = np.full((1, 1, 1, 1, 1, 2), 0.5, np.float32)
    bits = np.arange(2**16, dtype=np.uint16).reshape(1, 1, 1, -1)
    for kind in KINDS[1:]:
        value = bits.view(np.float16) if kind == "float16" else bits
        for weight in (1.0, 1 / 3, 0.4999, 1e-3):
            weights = np.full((1, 1, 1, 1, 1), weight, np.float32)
            wanted = [((1, 1, 2**16), value.dtype)]
            (result,) = call("MsDeformAttnForward", [value, shapes, starts, location, weights], wanted)
            with np.errstate(all="ignore"):
                expected = checks.widened(checks.stored(checks.widened(value) * np.float32(weight), kind)).reshape(-1)
            ours = checks.widened(result).reshape(-1)
            known = np.isfinite(checks.widened(value)).reshape(-1)  # NaN has many forms
            assert np.array_equal(ours[known], expected[known]), f"{kind} times {weight}"
            assert not np.isfinite(ours[~known]).any()
    return 8


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def check_edges(call: Any) -> int:
    """Tensors without elements, tensors that are not aligned to 16 bytes, a stream of its own."""
    inputs = attention_inputs(7)
    plain: dict[str, np.ndarray] = {}
    for shift in (0, 4):
        call.shift = shift
        try:
            results = checks.attention(call, inputs)
            norms = [np.ones((3, 8), np.float32), *(np.arange(8, dtype=np.float32),) * 2, np.array([1e-5], np.float32)]
            checks.check_norms(call)
        finally:
            call.shift = 0
        plain = plain or results
        assert all(np.allclose(plain[key], results[key], rtol=1e-5, atol=1e-6) for key in plain)
        (y,) = call("LayerNormForward", norms, [((3, 8), np.float32)])
        assert np.array_equal(y, np.broadcast_to(np.arange(8, dtype=np.float32), (3, 8)))
    call.stream = call.new_stream()
    try:
        with deterministic("1"):  # several kernels, which have to wait for each other
            results = checks.attention(call, inputs)
    finally:
        call.stream = None
    assert all(np.allclose(plain[key], results[key], rtol=1e-5, atol=1e-6) for key in plain)
    value, shapes, starts, locations, weights, gradient = inputs
    for q, n in ((0, 2), (3, 0)):
        some = [value[:n], shapes, starts, locations[:n, :q], weights[:n, :q], gradient[:n, :q]]
        results = checks.attention(call, some)
        assert results["output"].shape == (n, q, 24) and not results["grad_value"].any()
    nothing = np.zeros((2, 0, 3, 8), np.float32), np.zeros((0, 2), np.int32), np.zeros(0, np.int32)
    results = checks.attention(call, [*nothing, zeros(2, 3, 3, 0, 4, 2), zeros(2, 3, 3, 0, 4), zeros(2, 3, 24)])
    assert not results["output"].any()
    x, offset, weight, gradient, geometry = convolution_inputs(*CONVOLUTIONS[0])
    for arrays in ((x[:0], offset[:0], weight, gradient[:0]), (x, offset, weight[:0], gradient[:, :0])):
        assert not any(result.any() for result in checks.convolution(call, *arrays, geometry))
    options, epsilon = np.array([1, 1e-5, 0], np.float32), np.array([1e-5], np.float32)
    wanted = [((0, 4), np.float32), ((4,), np.float32), ((4,), np.float32)]
    for result in (
        *call("LayerNormBackward", [zeros(0, 4), zeros(4), epsilon, zeros(0, 4)], wanted),
        *call("GroupNormBackward", [zeros(0, 4), zeros(4), zeros(4), options, zeros(0, 4)], wanted),
    ):
        assert not result.any()
    (result,) = call("Assignment", [zeros(2, 0, 3), np.ones((2, 3), bool)], [((2, 3), np.int32)])
    assert (result == -1).all()
    return 11


def check_refusals(call: checks.Call) -> int:
    """Calls that no kernel may see: the code says why."""
    x, vector, epsilon = np.zeros((2, 4), np.float32), np.zeros(4, np.float32), np.zeros(1, np.float32)
    value, shapes, starts, locations, weights, _ = attention_inputs(7)
    output = [((2, 4), np.float32)]
    wrong: dict[str, tuple[str, list[np.ndarray], list[tuple[Any, Any]]]] = {
        "LayerNormForward returned 1": ("LayerNormForward", [x, vector, epsilon], output),
        "LayerNormForward returned 2": ("LayerNormForward", [x, vector.astype(np.int32), vector, epsilon], output),
        "LayerNormForward returned 3": ("LayerNormForward", [x, vector[:3], vector[:3], epsilon], output),
        "GroupNormForward returned 3": ("GroupNormForward", [x, vector, vector, epsilon], output),
        "DeformConv2dForward returned 3": ("DeformConv2dForward", [x, x, x, np.ones(3, np.int32)], output),
        "MsDeformAttnForward returned 2": (
            "MsDeformAttnForward",
            [value, shapes, starts, locations.astype(np.float16), weights],
            [((2, 40, 24), np.float32)],
        ),
        "Assignment returned 2": ("Assignment", [x[None], np.ones((1, 4), np.float32)], [((1, 4), np.int32)]),
    }
    for expected, (name, inputs, outputs) in wrong.items():
        try:
            call(name, inputs, outputs)
        except OperatorError as error:
            assert expected in str(error), f"{error}, expected {expected}"
        else:
            raise AssertionError(f"{name} accepted what it should refuse: {expected}")
    options = np.array([3, 1e-5, 0], np.float32)  # 3 groups of 4 channels, which only the device can see
    (result,) = call("GroupNormForward", [x, vector, vector, options], output)
    assert np.isnan(result).all()
    return len(wrong) + 1


def check_all(
    call: checks.Call,
    golden: Path,
    problems: int = 1000,
    reference: checks.Call | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Everything; `reference`: the CPU library, where it is built. Returns the number of cases."""
    total = 0
    for mode in ("0", "1"):
        with deterministic(mode):
            for kind in KINDS:
                # With weights that are not finite the deterministic sum is NaN as a whole, see the README.
                cases = checks.check_attention(call, golden, kind, wild_weights=mode == "0")
                say(f"deterministic={mode}: {cases} cases of attention agree in {kind}")
                total += cases
            checks.check_wild_locations(call)
            checks.check_convolution(call, golden)
            total += 4 + 4
    checks.check_norms(call)
    checks.check_assignment(call, problems)
    total += 11 + problems // 5 * 5 + 4
    total += sum(check_half_norms(call, kind) for kind in KINDS[1:])
    total += check_repeatable(call) + check_edges(call) + check_refusals(call) + check_conversions(call)
    if reference is not None:
        total += check_against(call, reference)
    say("convolution, normalisation, assignment, empty and unaligned tensors agree")
    return total
