"""Numerical checks of the exported operators, on whichever memory the caller works: goldens, stress, exact optima."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import ndtr

# An operator of a library: its name, the inputs, shape and type of each output -> the outputs.
Call = Callable[[str, list[np.ndarray], list[tuple[Any, Any]]], list[np.ndarray]]
RESULTS = ("output", "grad_value", "grad_sampling_locations", "grad_attention_weights")
KEYS = (
    "value",
    "spatial_shapes",
    "level_start_index",
    "sampling_locations",
    "attention_weights",
    "grad_output",
)


def load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stored(array: np.ndarray, kind: str) -> np.ndarray:
    """A float32 array as `kind`; bfloat16 lies in the upper half of float32, here as uint16."""
    if kind != "bfloat16":
        return array.astype(kind)
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def widened(array: np.ndarray) -> np.ndarray:
    """An array that :func:`stored` made, as float32."""
    return (array.astype(np.uint32) << 16).view(np.float32) if array.dtype == np.uint16 else array.astype(np.float32)


def in_bfloat16(array: np.ndarray) -> np.ndarray:
    """The nearest numbers of bfloat16, as float64."""
    return widened(stored(array, "bfloat16")).astype(np.float64)


def in_float64(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


def attention(call: Call, inputs: list[np.ndarray], kind: str = "float32") -> dict[str, np.ndarray]:
    """Forward and backward of deformable attention, values and their gradients in `kind`; results in float32."""
    value, shapes, starts, locations, weights, gradient = inputs
    value, gradient = stored(value, kind), stored(gradient, kind)
    tensors = [value, shapes.astype(np.int32), starts.astype(np.int32), locations, weights]
    N, _, M, D = value.shape
    output = call("MsDeformAttnForward", tensors, [((N, locations.shape[1], M * D), value.dtype)])
    wanted = [(value.shape, value.dtype), (locations.shape, np.float32), (weights.shape, np.float32)]
    gradients = call("MsDeformAttnBackward", [*tensors, gradient], wanted)
    return {name: widened(result) for name, result in zip(RESULTS, [*output, *gradients])}


HALF_ERROR = {"float16": 2e-2, "bfloat16": 8e-2}  # of a sum, in units of 1 + the largest number


def check_attention(call: Call, golden: Path, kind: str = "float32", wild_weights: bool = True) -> int:
    """All golden cases; returns how many. `wild_weights`: with weights that are not finite as well."""
    half = kind != "float32"
    folder = golden / "ms_deform_attn"
    inputs = load_module(folder / "inputs.py")
    manifest = json.loads((folder / "manifest.json").read_text())
    cases = json.loads((folder / "cases.json").read_text())
    for case in cases:
        made = inputs.make_case(case)
        results = attention(call, [made[key] for key in KEYS], kind)
        expected = np.load(folder / f"{case['name']}.npz")
        for name in RESULTS:
            facts = manifest[case["name"]][name]
            error = np.abs(results[name].reshape(-1)[:: facts["flat_stride"]] - expected[name].reshape(-1)).max()
            limit = HALF_ERROR[kind] * (1 + facts["max_abs"]) if half else 4 * facts["f32_kernel_max_abs_err"]
            assert error <= limit, f"{case['name']} {name}: error {error}, allowed {limit}"
    stored_cases: list[tuple[str, str, dict[str, str]]] = [
        ("borders", "", {}),
        ("zero_size_levels", "", {}),
        ("special_values", "a_", {}),
    ]
    stored_cases += [("special_values", "b_", {"value": "value_nan"})]
    if wild_weights:
        stored_cases += [("special_values", "c_", {"attention_weights": "attention_weights_bad"})]
    if half:
        return len(cases)
    for name, prefix, other in stored_cases:
        numbers = np.load(folder / f"{name}.npz")
        results = attention(call, [numbers[other.get(key, key)] for key in KEYS])
        for key in RESULTS:
            np.testing.assert_allclose(results[key], numbers[prefix + key], rtol=1e-5, atol=2e-6, err_msg=name + key)
    return len(cases) + len(stored_cases)


def check_wild_locations(call: Call) -> None:
    """Positions anywhere, at NaN and infinity, odd sizes: nothing may be read outside, and what is finite stays so."""
    rng = np.random.default_rng(1)
    for D, P, levels in ((1, 1, [(1, 1)]), (7, 3, [(3, 5), (1, 9)]), (33, 300, [(4, 4)]), (64, 2, [(0, 3), (2, 2)])):
        shapes = np.array(levels, np.int32)
        starts = np.concatenate([[0], np.cumsum(shapes.prod(1))[:-1]]).astype(np.int32)
        N, Lq, M, S = 2, 9, 3, int(shapes.prod(1).sum())
        locations = (rng.standard_normal((N, Lq, M, len(shapes), P, 2)) * 3).astype(np.float32)
        for wild in (np.nan, np.inf, -np.inf, 1e30, -1e30, 3e9, np.float32(2**31)):
            locations[rng.random(locations.shape) < 0.05] = wild
        weights = rng.random(locations.shape[:-1]).astype(np.float32)
        value = rng.standard_normal((N, S, M, D)).astype(np.float32)
        gradient = rng.standard_normal((N, Lq, M * D)).astype(np.float32)
        results = attention(call, [value, shapes, starts, locations, weights, gradient])
        assert all(np.isfinite(result).all() for result in results.values())


def check_dense_attention(call: Call, half: bool = False) -> None:
    """Every query against every key, with no bias, one of each clip, one of each query: as exact as float32 can be.

    ``half``: with products in bfloat16, so that a weight is wrong by 2^-9 of itself, and a value, too.
    """
    rng = np.random.default_rng(5)
    name = "HalfDenseAttention" if half else "DenseAttention"
    sizes = [
        (1, 6, 100, 405, 64),
        (2, 3, 7, 5, 30),
        (1, 8, 50, 1040, 48),
        (3, 2, 1, 1, 3),
        (2, 2, 49, 64, 16),
        (1, 1, 40, 9000, 8),
        (1, 1, 25, 129, 1),
    ]
    for B, M, R, S, D in sizes:
        query, key, value = (rng.standard_normal((B, M, rows, D)).astype(np.float32) for rows in (R, S, S))
        masked = np.where(rng.random((B, 1, 1, S)) < 0.3, -1e30, rng.standard_normal((B, 1, 1, S)))
        masked[0] = -1e30 if B > 1 else masked[0]  # of a clip that is padding everywhere all keys count the same
        for bias in (np.zeros((1, 1, 1, 1)), masked, rng.standard_normal((1, 1, R, S))):
            bias = bias.astype(np.float32)
            (output,) = call(name, [query, key, value, bias], [(query.shape, np.float32)])
            exact, plain = (attended(query, key, value, bias, kind) for kind in (np.float64, np.float32))
            limit = 4 * np.abs(plain - exact).max() + 1e-6
            if half:
                exact = attended(in_bfloat16(query), in_bfloat16(key), value, bias, np.float64)
                limit = 2.0**-8 * np.abs(value).max()
            error = np.abs(output - exact).max()
            assert error <= limit, f"{name} {B, M, R, S, D}, bias {bias.shape}: error {error}, allowed {limit}"
    value[0, 0, 3, 0] = np.nan
    key[0, 0, 5] = np.inf
    (output,) = call(name, [query, key, value, np.zeros((1, 1, 1, 1), np.float32)], [(query.shape, np.float32)])
    assert np.isnan(output).all(), "what is not a number must not become one"


def check_short_attention(call: Call) -> None:
    """Heads side by side, in tensors of their own or in one: as exact as float32 can be."""
    rng = np.random.default_rng(8)
    for N, R, S, C, heads in (
        (37, 16, 32, 64, 8),
        (9, 5, 5, 48, 8),
        (1, 1, 1, 3, 1),
        (70, 7, 3, 9, 3),
        (3, 36, 72, 40, 2),
    ):
        query, packed = (rng.standard_normal(shape).astype(np.float32) for shape in ((N, R, C + 1), (N, S, 2 * C + 3)))
        key, value = packed[..., 2 : C + 2], packed[..., C + 3 :]
        parts = [query[..., 1:], key, value]
        spread = [part.reshape(N, -1, heads, C // heads).transpose(0, 2, 1, 3) for part in parts]
        scale, layout = np.array([0.4], np.float32), np.array([C, heads, 1, 2, C + 3], np.int32)
        last_masked = np.where(np.arange(S) < S - 1, 0.5, -1e30).astype(np.float32)
        for bias in (np.zeros((1, 1, 1, 1), np.float32), last_masked):
            (output,) = call("ShortAttention", [query, packed, packed, bias, layout, scale], [((N, R, C), np.float32)])
            exact, plain = (
                attended(spread[0] * scale, spread[1], spread[2], bias, kind) for kind in (np.float64, np.float32)
            )
            limit = 4 * np.abs(plain - exact).max() + 1e-6
            error = np.abs(output - exact.transpose(0, 2, 1, 3).reshape(N, R, C)).max()
            assert error <= limit, f"short attention {N, R, S, C, heads}: error {error}, allowed {limit}"
    packed[1, 3] = np.nan
    (output,) = call("ShortAttention", [query, packed, packed, bias, layout, scale], [((N, R, C), np.float32)])
    assert np.isnan(output[1]).all() and np.isfinite(output[0]).all(), "what is not a number must not become one"


def check_dense_layer(call: Call, half: bool = False) -> None:
    """Linear layers as exact as float32 can be, and no bit different when some rows are computed by themselves.

    ``half``: products of numbers in bfloat16, added up in float32.
    """
    rng = np.random.default_rng(6)
    name, factor = ("HalfDenseLayer", in_bfloat16) if half else ("DenseLayer", in_float64)
    for rows, depth, outputs in ((1, 1, 1), (97, 33, 51), (193, 300, 170), (5, 700, 17), (600, 64, 40), (0, 4, 3)):
        x, weight, bias = (
            rng.standard_normal(shape).astype(np.float32) for shape in ((rows, depth), (outputs, depth), (outputs,))
        )
        (output,) = call(name, [x, weight, bias], [((rows, outputs), np.float32)])
        exact = factor(x) @ factor(weight).T + bias
        limit = 2e-6 * np.sqrt(depth) * max(1.0, np.abs(exact).max(initial=0))
        assert np.abs(output - exact).max(initial=0) <= limit, f"{name} {rows, depth, outputs}"
        if rows > 50:
            (some,) = call(name, [x[50:], weight, bias], [((rows - 50, outputs), np.float32)])
            np.testing.assert_array_equal(some, output[50:])


def check_dense_layer_gradients(call: Call) -> None:
    rng = np.random.default_rng(9)
    for rows, depth, outputs in ((1, 1, 1), (97, 33, 51), (600, 700, 170), (300, 17, 5), (520, 400, 3), (0, 4, 3)):
        x, weight, gradient = (
            rng.standard_normal(shape).astype(np.float32)
            for shape in ((rows, depth), (outputs, depth), (rows, outputs))
        )
        (of_x,) = call("DenseLayerInputGradient", [gradient, weight], [(x.shape, np.float32)])
        found = call("DenseLayerWeightGradient", [x, gradient], [(weight.shape, np.float32), ((outputs,), np.float32)])
        wide = gradient.astype(np.float64)
        expected = (wide @ weight.astype(np.float64), wide.T @ x.astype(np.float64), wide.sum(0))
        for one, exact, terms in zip((of_x, *found), expected, (outputs, rows, rows)):
            limit = 2e-6 * np.sqrt(max(1, terms)) * max(1.0, np.abs(exact).max(initial=0))
            assert np.abs(one - exact).max(initial=0) <= limit, f"gradients of a layer {rows, depth, outputs}"


# Maps, channels, height, width, outputs, kernel, stride, padding, dilation: all kinds of borders and tails.
CONVOLUTIONS = (
    (1, 2, 2, 2, 2, 3, 3, 5, 4),
    (1, 3, 17, 23, 5, 7, 2, 3, 1),
    (2, 70, 9, 11, 33, 3, 1, 1, 1),
    (1, 20, 5, 60, 300, 3, 2, 1, 1),
    (2, 300, 6, 10, 65, 1, 1, 0, 1),
    (1, 4, 7, 7, 3, 1, 2, 0, 1),
    (1, 8, 12, 13, 9, 3, 1, 2, 2),
    (1, 2, 3, 3, 1, 3, 1, 4, 1),
    (1, 5, 40, 1, 7, 3, 1, 1, 1),
    (1, 1, 20, 20, 2, 17, 1, 8, 1),
    (2, 3, 5, 7, 4, 2, 3, 0, 1),
)


def check_dense_convolution(call: Call, half: bool = False) -> None:
    """As exact as float32 can be, and a map by itself has the same bits; ``half``: with products in bfloat16."""
    rng = np.random.default_rng(7)
    name, factor = ("HalfDenseConvolution", in_bfloat16) if half else ("DenseConvolution", in_float64)
    for B, C, H, W, outputs, kernel, *geometry in CONVOLUTIONS:
        x, weight = rng.standard_normal((B, C, H, W)), rng.standard_normal((outputs, C, kernel, kernel))
        product = convolved(factor(x), factor(weight), *geometry)
        scale, shift, residual = (rng.standard_normal(shape) for shape in ((outputs,), (outputs,), product.shape))
        for relu, added in ((0, np.zeros(1)), (1, residual)):
            numbers = np.array([*geometry, relu], np.int32)
            given = [array.astype(np.float32) for array in (x, weight, scale, shift, added)]
            (output,) = call(name, [*given, numbers], [(product.shape, np.float32)])
            exact = product * scale[:, None, None] + shift[:, None, None] + (added if relu else 0)
            exact = np.maximum(exact, 0) if relu else exact
            limit = 2e-6 * np.sqrt(C * kernel**2) * max(1.0, np.abs(exact).max())
            assert np.abs(output - exact).max() <= limit, f"{name} {B, C, H, W, outputs, kernel, geometry}"
            if B > 1 and not relu:
                (alone,) = call(name, [given[0][1:], *given[1:], numbers], [((1, *product.shape[1:]), np.float32)])
                np.testing.assert_array_equal(alone, output[1:])
    given[0][0, 0, 0, 0] = np.nan
    (output,) = call(name, [*given, numbers], [(product.shape, np.float32)])
    assert np.isnan(output).any(), "what is not a number must not become one, not even in a ReLU"


def check_dynamic_masks(call: Call) -> None:
    """Every query's own network over the cells of its frame, written out in float64."""
    rng = np.random.default_rng(11)
    for F, C, H, W, N, stride in ((1, 8, 45, 80, 20, 8), (3, 4, 5, 33, 7, 8), (2, 16, 1, 1, 2, 4)):
        shapes = ((F, C, H, W), (F, N, 8 * (C + 2) + 89), (F, N, 2))
        features, parameters, references = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
        references = (references * 50).astype(np.float32)
        (output,) = call(
            "DynamicMasks",
            [features, parameters, references, np.array([stride], np.int32)],
            [((F, N, 2 * H, 2 * W), np.float32)],
        )
        ends = np.cumsum([8 * (C + 2), 64, 8, 8, 8])
        w1, w2, w3, b1, b2, b3 = np.split(parameters.astype(np.float64), ends, axis=-1)
        rows, columns = np.meshgrid(np.arange(H), np.arange(W), indexing="ij")
        cells = np.stack([columns, rows]).reshape(1, 1, 2, -1) * stride + stride // 2
        own = np.broadcast_to(features.reshape(F, 1, C, -1), (F, N, C, H * W))
        seen = np.concatenate([references[..., None].astype(np.float64) - cells, own], 2)
        x = np.maximum(w1.reshape(F, N, 8, C + 2) @ seen + b1[..., None], 0)
        x = np.maximum(w2.reshape(F, N, 8, 8) @ x + b2[..., None], 0)
        x = (w3.reshape(F, N, 1, 8) @ x + b3[..., None]).reshape(F, N, H, W)
        for axis in (2, 3):
            before = np.concatenate([x.take([0], axis), x.take(range(x.shape[axis] - 1), axis)], axis)
            x = np.stack([(before + x) / 2, x], axis + 1).reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])
        assert np.abs(output - x).max() <= 2e-6 * np.abs(x).max(), f"dynamic masks {F, C, H, W, N}"


def check_join_nearest(call: Call) -> None:
    """To the bit, since a number is moved and one is added; the gradients as exact as float32 can be."""
    rng = np.random.default_rng(12)
    for F, Q, C, h, w, H, W in ((2, 3, 5, 10, 17, 19, 34), (1, 1, 2, 38, 68, 75, 135), (2, 2, 1, 7, 5, 3, 20)):
        x = rng.standard_normal((F * Q, C, h, w)).astype(np.float32)
        fine = rng.standard_normal((F, C, H, W)).astype(np.float32)
        places = [(np.arange(new) * old // new).astype(np.int32) for old, new in ((h, H), (w, W))]
        (output,) = call("JoinNearest", [x, fine, *places], [((F * Q, C, H, W), np.float32)])
        moved = x[:, :, places[0]][:, :, :, places[1]]
        np.testing.assert_array_equal(output, moved + np.repeat(fine, Q, 0))
        gradient = rng.standard_normal(output.shape).astype(np.float32)
        wanted = [(x.shape, np.float32), (fine.shape, np.float32)]
        of_x, of_fine = call("JoinNearestGradient", [gradient, *places], wanted)
        exact = np.zeros(x.shape)
        np.add.at(exact, np.ix_(np.arange(F * Q), np.arange(C), places[0], places[1]), gradient)
        np.testing.assert_allclose(of_x, exact, rtol=1e-5, atol=1e-5)
        exact = gradient.astype(np.float64).reshape(F, Q, C, H, W).sum(1)
        np.testing.assert_allclose(of_fine, exact, rtol=1e-5, atol=1e-5)


def check_mask_losses(call: Call) -> None:
    """Against double precision, for logits of any size, rows that do not fill a vector, and targets that repeat."""
    rng = np.random.default_rng(13)
    for rows, targets, pixels in ((6, 3, 5000), (4, 4, 16), (3, 1, 7), (1, 1, 2049)):
        logits = (rng.standard_normal((rows, pixels)) * 6).astype(np.float32)
        logits[0, :7] = 0, -0.0, 200, -200, 88, -88, 1e-30
        target = (rng.random((targets, pixels)) < 0.4).astype(np.float32)
        x, t = logits.astype(np.float64), np.tile(target, (rows // targets, 1)).astype(np.float64)
        p = 1 / (1 + np.exp(-x))
        entropy, missing = np.logaddexp(0, x) - x * t, p + t - 2 * p * t
        gradient = rng.standard_normal((rows, 2)).astype(np.float32)
        for alpha in (0.25, -1.0):
            factor = alpha * t + (1 - alpha) * (1 - t) if alpha >= 0 else np.ones_like(t)
            given = [logits, target, np.array([alpha], np.float32)]
            (means,) = call("FocalRows", given, [((rows,), np.float32)])
            np.testing.assert_allclose(means, (entropy * missing**2 * factor).mean(1), rtol=2e-6)
            (slopes,) = call("FocalRowsGradient", [*given, gradient[:, 0].copy()], [(x.shape, np.float32)])
            exact = missing * ((p - t) * missing + 2 * entropy * p * (1 - p) * (1 - 2 * t)) * factor
            exact *= gradient[:, :1] / pixels
            np.testing.assert_allclose(slopes, exact, rtol=1e-5, atol=1e-6 * np.abs(exact).max())
        (sums,) = call("DiceRows", [logits, target], [((rows, 2), np.float32)])
        np.testing.assert_allclose(sums, np.stack([(p * t).sum(1), (p + t).sum(1)], 1), rtol=1e-6)
        (slopes,) = call("DiceRowsGradient", [logits, target, gradient], [(x.shape, np.float32)])
        exact = p * (1 - p) * (gradient[:, :1] * t + gradient[:, 1:])
        np.testing.assert_allclose(slopes, exact, rtol=1e-5, atol=1e-6 * np.abs(exact).max())
    logits[0, 3] = np.nan
    assert np.isnan(call("FocalRows", [logits, target, np.array([0.25], np.float32)], [((1,), np.float32)])[0]).all()


def check_convolution_gradients(call: Call) -> None:
    """Against the gradients of the sum over taps, written out."""
    rng = np.random.default_rng(10)
    for B, C, H, W, outputs, kernel, *geometry in CONVOLUTIONS:
        x, weight = rng.standard_normal((B, C, H, W)), rng.standard_normal((outputs, C, kernel, kernel))
        gradient = rng.standard_normal(convolved(x, weight, *geometry).shape)
        scale = rng.standard_normal(outputs)
        given = [array.astype(np.float32) for array in (x, weight, gradient, scale)]
        numbers = np.array(geometry, np.int32)
        wide = [array.astype(np.float64) for array in given]
        expected = convolution_gradients(wide[0], wide[1], wide[2], wide[3], *geometry)
        (of_x,) = call(
            "DenseConvolutionInputGradient", [given[2], given[1], given[3], numbers], [(x.shape, np.float32)]
        )
        outs = [(weight.shape, np.float32), (scale.shape, np.float32)]
        found = call("DenseConvolutionWeightGradient", [given[0], given[2], given[3], numbers], outs)
        for one, exact in zip((of_x, *found), expected):
            limit = 2e-5 * max(1.0, np.abs(exact).max())
            assert np.abs(one - exact).max() <= limit, f"gradients of a convolution {B, C, H, W, outputs, geometry}"


def convolution_gradients(
    x: np.ndarray, weight: np.ndarray, gradient: np.ndarray, scale: np.ndarray, stride: int, padding: int, dilation: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of x, weight and shift."""
    height, width = gradient.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    of_padded, of_weight, scaled = np.zeros_like(padded), np.zeros_like(weight), gradient * scale[:, None, None]
    for i, j in np.ndindex(weight.shape[2:]):
        rows = slice(i * dilation, i * dilation + stride * (height - 1) + 1, stride)
        columns = slice(j * dilation, j * dilation + stride * (width - 1) + 1, stride)
        of_weight[:, :, i, j] = np.einsum("bohw,bchw->oc", scaled, padded[:, :, rows, columns])
        of_padded[:, :, rows, columns] += np.einsum("bohw,oc->bchw", scaled, weight[:, :, i, j])
    H, W = x.shape[2:]
    return of_padded[:, :, padding : padding + H, padding : padding + W], of_weight, gradient.sum((0, 2, 3))


def convolved(x: np.ndarray, weight: np.ndarray, stride: int, padding: int, dilation: int) -> np.ndarray:
    """As numpy computes it in float64, the inputs rounded to float32 before."""
    x, weight = (array.astype(np.float32).astype(np.float64) for array in (x, weight))
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    kernel = weight.shape[2]
    height, width = ((size - dilation * (kernel - 1) - 1) // stride + 1 for size in x.shape[2:])
    y = np.zeros((x.shape[0], weight.shape[0], height, width))
    for i in range(kernel):
        for j in range(kernel):
            rows = slice(i * dilation, i * dilation + (height - 1) * stride + 1, stride)
            columns = slice(j * dilation, j * dilation + (width - 1) * stride + 1, stride)
            y += np.einsum("bchw,oc->bohw", x[:, :, rows, columns], weight[:, :, i, j])
    return y


def check_depthwise(call: Call) -> None:
    """Each channel by itself, and its gradients."""
    rng = np.random.default_rng(11)
    for B, C, H, W, kernel in ((2, 3, 5, 7, 3), (1, 2, 1, 40, 7), (3, 1, 20, 16, 1), (1, 4, 2, 33, 5)):
        x, weight = rng.standard_normal((B, C, H, W)), rng.standard_normal((C, 1, kernel, kernel))
        gradient, border = rng.standard_normal(x.shape), kernel // 2
        expected, of_x, of_weight = np.zeros_like(x), np.zeros_like(x), np.zeros_like(weight)
        for c in range(C):
            own = x[:, c : c + 1], weight[c : c + 1]
            expected[:, c : c + 1] = convolved(*own, 1, border, 1)
            parts = convolution_gradients(*own, gradient[:, c : c + 1], np.ones(1), 1, border, 1)
            of_x[:, c : c + 1], of_weight[c : c + 1] = parts[:2]
        given = [array.astype(np.float32) for array in (x, weight, gradient)]
        forward, turned = (np.array([number], np.int32) for number in (0, 1))
        found = [
            *call("DepthwiseConvolution", [*given[:2], forward], [(x.shape, np.float32)]),
            *call("DepthwiseConvolution", [given[2], given[1], turned], [(x.shape, np.float32)]),
            *call("DepthwiseWeightGradient", [given[0], given[2]], [(weight.shape, np.float32)]),
        ]
        for one, exact in zip(found, (expected, of_x, of_weight)):
            assert np.abs(one - exact).max() <= 2e-5 * max(1.0, np.abs(exact).max()), f"depthwise {B, C, H, W, kernel}"


def check_gelu(call: Call) -> None:
    """To a few roundings of the number itself, far into the tail, and of its slope."""
    x = np.concatenate([np.linspace(-12, 12, 40001), [0, -0.0, 1e-30, 50, -50, 1e30]]).astype(np.float32)
    (found,) = call("Gelu", [x], [(x.shape, np.float32)])
    (slopes,) = call("GeluGradient", [x, np.full_like(x, 2)], [(x.shape, np.float32)])
    wide = x.astype(np.float64)
    probability, density = ndtr(wide), np.exp(-(wide**2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(found, wide * probability, rtol=1e-5, atol=1e-37)
    np.testing.assert_allclose(found[x > -3], (wide * probability)[x > -3], rtol=1e-6)
    np.testing.assert_allclose(slopes, 2 * (probability + wide * density), rtol=1e-6, atol=1e-6)
    x[1] = np.nan
    assert np.isnan(call("Gelu", [x], [(x.shape, np.float32)])[0]).sum() == 1


def check_max_pool(call: Call) -> None:
    """To the bit, with what is not a number kept."""
    rng = np.random.default_rng(8)
    for B, C, H, W, kernel, stride, padding in (
        (1, 3, 17, 23, 3, 2, 1),
        (2, 2, 8, 40, 3, 2, 1),
        (1, 1, 1, 1, 3, 2, 1),
        (1, 2, 9, 7, 2, 2, 0),
        (2, 1, 5, 33, 4, 1, 2),
    ):
        x = rng.standard_normal((B, C, H, W)).astype(np.float32)
        x[0, 0, 0, -1] = np.nan
        wide = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)), constant_values=-np.inf)
        rows, columns = ((size + 2 * padding - kernel) // stride * stride + 1 for size in (H, W))
        of_windows = [
            wide[:, :, i : i + rows : stride, j : j + columns : stride] for i, j in np.ndindex(kernel, kernel)
        ]
        expected = np.maximum.reduce(of_windows)
        geometry = np.array([kernel, stride, padding], np.int32)
        (output,) = call("MaxPool", [x, geometry], [(expected.shape, np.float32)])
        np.testing.assert_array_equal(output, expected)


def attended(query: np.ndarray, key: np.ndarray, value: np.ndarray, bias: np.ndarray, kind: Any) -> np.ndarray:
    query, key, value, bias = (array.astype(kind) for array in (query, key, value, bias))
    logits = query @ key.swapaxes(-1, -2) + bias
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ value


def convolution(
    call: Call,
    x: np.ndarray,
    offset: np.ndarray,
    weight: np.ndarray,
    gradient: np.ndarray,
    geometry: Sequence[int] = (1, 1, 1),
) -> list[np.ndarray]:
    """Forward and backward with stride, padding and dilation."""
    numbers = np.array(geometry, np.int32)
    shape = (x.shape[0], weight.shape[0], *offset.shape[2:])
    (output,) = call("DeformConv2dForward", [x, offset, weight, numbers], [(shape, np.float32)])
    wanted = [(a.shape, np.float32) for a in (x, offset, weight)]
    return [output, *call("DeformConv2dBackward", [x, offset, weight, numbers, gradient], wanted)]


def check_convolution(call: Call, golden: Path) -> None:
    names = ("output", "grad_input", "grad_offset", "grad_weight")
    for tag in ("small", "borders", "zero_offset"):
        expected = np.load(golden / "vistr" / f"unit_dcn_{tag}.npz")
        inputs = [expected[key].astype(np.float32) for key in ("input", "offset", "weight", "grad_output")]
        for name, ours in zip(names, convolution(call, *inputs)):
            error = np.abs(ours - expected[name]).max() / max(np.abs(expected[name]).max(), 1)
            assert error < 1e-6, f"deformable convolution {tag} {name}: {error}"
    rng = np.random.default_rng(2)
    x, offset = rng.standard_normal((3, 5, 7, 9)), rng.standard_normal((3, 18, 7, 9)) * 4
    offset[rng.random(offset.shape) < 0.1] = np.nan
    offset[rng.random(offset.shape) < 0.1] = 1e30
    inputs = [x, offset, rng.standard_normal((6, 5, 3, 3)), rng.standard_normal((3, 6, 7, 9))]
    assert all(np.isfinite(a).all() for a in convolution(call, *(a.astype(np.float32) for a in inputs)))


def check_assignment(call: Call, problems: int) -> None:
    """Total costs equal scipy's: ties, padding, more instances than queries, none at all."""
    rng = np.random.default_rng(3)
    for Q, N in ((1, 1), (10, 6), (6, 10), (30, 30), (9, 3)):
        B = problems // 5
        cost = rng.standard_normal((B, Q, N)).astype(np.float32)
        cost[: B // 2] = np.round(cost[: B // 2])
        valid = rng.random((B, N)) < 0.8
        (result,) = call("Assignment", [cost, valid], [((B, N), np.int32)])
        for b in range(B):
            columns = np.flatnonzero(valid[b])
            rows, picked = linear_sum_assignment(cost[b][:, columns].astype(float))
            matched = np.flatnonzero(result[b] >= 0)
            assert len(set(result[b][matched])) == len(matched) == len(rows) and valid[b][matched].all()
            best = cost[b][:, columns].astype(float)[rows, picked].sum()
            assert abs(cost[b].astype(float)[result[b][matched], matched].sum() - best) < 1e-9
    bad = np.full((4, 5, 7), np.nan, np.float32)
    bad[1], bad[2] = np.inf, -np.inf
    (result,) = call("Assignment", [bad, np.ones((4, 7), bool)], [((4, 7), np.int32)])
    assert ((result >= 0).sum(1) == 5).all()


def layer_norm_numbers(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, gradient: np.ndarray, epsilon: float
) -> tuple[np.ndarray, ...]:
    """Layer normalisation and its gradients in float64."""
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    scale = 1 / np.sqrt(variance + epsilon)
    normalised = (x - mean) * scale
    g = gradient * weight
    grad_x = scale * (g - g.mean(-1, keepdims=True) - normalised * (g * normalised).mean(-1, keepdims=True))
    return normalised * weight + bias, grad_x, (gradient * normalised).sum(0), gradient.sum(0)


def check_norms(call: Call) -> None:
    rng = np.random.default_rng(4)
    epsilon = np.array([1e-5], np.float32)
    for rows, C in ((1, 1), (5, 7), (130, 256), (3, 33)):
        x, more, gradient = (rng.standard_normal((rows, C)).astype(np.float32) * 2 + 1 for _ in range(3))
        weight, bias = (rng.standard_normal(C).astype(np.float32) for _ in range(2))
        for extra in ([], [more]):
            total = (x + more if extra else x).astype(np.float64)
            expected = layer_norm_numbers(total, weight, bias, gradient, 1e-5)
            (y,) = call("LayerNormForward", [x, *extra, weight, bias, epsilon], [(x.shape, np.float32)])
            wanted = [(x.shape, np.float32), ((C,), np.float32), ((C,), np.float32)]
            results = [y, *call("LayerNormBackward", [x, *extra, weight, epsilon, gradient], wanted)]
            for ours, theirs in zip(results, expected):
                # One channel has no variance: the slope there is 1 / sqrt(epsilon).
                assert np.abs(ours - theirs).max() < 1e-5 * max(np.abs(theirs).max(), 1) * (30 if C == 1 else 1)
    for B, C, groups, positions, relu in ((2, 6, 3, 5, 0), (1, 8, 8, 3000, 1), (3, 12, 4, 77, 1)):
        x, gradient = (rng.standard_normal((B, C, positions)).astype(np.float32) + 1 for _ in range(2))
        weight, bias = (rng.standard_normal(C).astype(np.float32) for _ in range(2))
        options = np.array([groups, 1e-5, relu], np.float32)
        (y,) = call("GroupNormForward", [x, weight, bias, options], [(x.shape, np.float32)])
        wanted = [(x.shape, np.float32), ((C,), np.float32), ((C,), np.float32)]
        results = [y, *call("GroupNormBackward", [x, weight, bias, options, gradient], wanted)]
        for ours, theirs in zip(results, group_norm_numbers(x, weight, bias, gradient, groups, relu)):
            assert np.abs(ours - theirs).max() < 2e-5 * max(np.abs(theirs).max(), 1)


def group_norm_numbers(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, gradient: np.ndarray, groups: int, relu: int
) -> tuple[np.ndarray, ...]:
    """Group normalisation, a ReLU if asked for, and the gradients in float64."""
    B, C, positions = x.shape
    w, b = weight.astype(np.float64)[None, :, None], bias.astype(np.float64)[None, :, None]
    grouped = x.astype(np.float64).reshape(B, groups, -1)
    scale = 1 / np.sqrt(grouped.var(-1, keepdims=True) + 1e-5)
    normalised = (grouped - grouped.mean(-1, keepdims=True)) * scale
    flat = normalised.reshape(x.shape)
    y = flat * w + b
    g = gradient * (y > 0) if relu else gradient.astype(np.float64)
    inner = (g * w).reshape(B, groups, -1)
    grad_x = scale * (inner - inner.mean(-1, keepdims=True) - normalised * (inner * normalised).mean(-1, keepdims=True))
    output = np.maximum(y, 0) if relu else y
    return output, grad_x.reshape(x.shape), (g * flat).sum((0, 2)), g.sum((0, 2))
