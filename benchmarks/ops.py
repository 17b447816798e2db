"""Time every native operator against its twin in MindSpore's own operators, forward and forward + backward.

    python custom_ops/build.py && python -m benchmarks.ops [--only NAME] [--csv benchmarks/ops.csv]

Writes a CSV and prints the table of docs/performance.md. GB/s counts the compulsory traffic: every input read once and
every output written once (the backward pass reads inputs and the gradient again and writes all gradients). The ceiling
is what this machine moves when it adds two long arrays, measured in the same run.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

import mindvideo  # noqa: F401, I001  prepares the environment before MindSpore is imported
from benchmarks.machine import processor
from mindvideo.modules.layers.attention import DEFAULT_BLOCK_ELEMENTS, _AttentionCore
from mindvideo.modules.layers.short_attention import ShortAttention
from mindvideo.native_library import CPU_LIBRARY, library_folder
from mindvideo.ops import assignment, deform_conv2d, ms_deform_attn
from mindvideo.ops.assignment_ref import assignment_ref
from mindvideo.ops.backend import backend
from mindvideo.ops.convolution import dense_convolution
from mindvideo.ops.deform_conv_ref import deform_conv2d_ref
from mindvideo.ops.dense import dense_attention, dense_layer, short_attention
from mindvideo.ops.ms_deform_attn_ref import ms_deform_attn_ref
from mindvideo.ops.normalization import group_norm, layer_norm
from mindvideo.ops.normalization_ref import group_norm_ref, layer_norm_ref

LEVELS = ((45, 80), (23, 40), (12, 20), (6, 10))


@dataclasses.dataclass
class Case:
    """One operator at one shape. `inputs` that are floating and in `differentiable` get gradients."""

    op: str
    name: str
    native: Callable
    twin: Callable | None
    inputs: list[np.ndarray]
    differentiable: tuple[int, ...]


def attention_case(
    name: str, frames: int, queries: int, levels, heads: int, channels: int, points: int, with_twin: bool = True
) -> Case:
    rng = np.random.default_rng(0)
    pixels = sum(height * width for height, width in levels)
    starts = tuple(int(n) for n in np.cumsum([0] + [h * w for h, w in levels])[:-1])
    shape = (frames, queries, heads, len(levels), points)
    # Encoder queries look around their own pixel, as trained models do.
    centre = rng.random((frames, queries, 1, 1, 1, 2))
    if queries == pixels:
        grid = [np.stack(np.meshgrid((np.arange(w) + 0.5) / w, (np.arange(h) + 0.5) / h), -1) for h, w in levels]
        centre = np.concatenate([g.reshape(-1, 2) for g in grid])[None, :, None, None, None]
    sizes = np.array([(w, h) for h, w in levels])[:, None]
    locations = centre + rng.standard_normal((*shape, 2)) * 2 / sizes

    def native(value, locations, weights):
        return ms_deform_attn(value, levels, starts, locations, weights)

    def twin(value, locations, weights):
        return ms_deform_attn_ref(value, levels, starts, locations, weights)

    inputs = [rng.standard_normal((frames, pixels, heads, channels)), locations, rng.random(shape)]
    return Case("ms_deform_attn", name, native, twin if with_twin else None, inputs, (0, 1, 2))


def convolution_case(name: str, maps: int, channels: int, outputs: int, height: int, width: int, twin: bool) -> Case:
    rng = np.random.default_rng(0)
    inputs = [
        rng.standard_normal((maps, channels, height, width)),
        rng.standard_normal((maps, 18, height, width)),
        rng.standard_normal((outputs, channels, 3, 3)),
    ]
    return Case("deform_conv2d", name, deform_conv2d, deform_conv2d_ref if twin else None, inputs, (0, 1, 2))


def dense_attention_case(name: str, heads: int, tokens: int, channels: int) -> Case:
    """Without gradients, as it is used; the twin goes by blocks of weights, as with gradients."""
    rng = np.random.default_rng(0)
    core = _AttentionCore(dropout=0.0, block_elements=DEFAULT_BLOCK_ELEMENTS).set_train()
    no_bias = Tensor(np.zeros((1, 1, 1, 1), np.float32))

    def native(query, key, value):
        return dense_attention(query, key, value, no_bias)

    def twin(query, key, value):
        return core(query, key, value, no_bias)[0]

    inputs = [rng.standard_normal((1, heads, tokens, channels)) for _ in range(3)]
    return Case("dense_attention", name, native, twin, inputs, ())


def short_attention_case(name: str, sequences: int, queries: int, keys: int, channels: int) -> Case:
    """Eight heads, without gradients, as it is used; the twin as with gradients."""
    rng = np.random.default_rng(0)
    layer = ShortAttention(width=channels, heads=8, begins=(0, 0, channels)).set_train()
    no_bias = Tensor(np.zeros((1, 1, 1, 1), np.float32))

    def native(query, pairs):
        return short_attention(query, pairs, pairs, no_bias, layer.layout, layer.scale)

    def twin(query, pairs):
        return layer(query, pairs, pairs)

    inputs = [rng.standard_normal((sequences, queries, channels)), rng.standard_normal((sequences, keys, 2 * channels))]
    return Case("short_attention", name, native, twin, inputs, ())


def dense_layer_case(name: str, rows: int, depth: int, outputs: int) -> Case:
    """Without gradients, as it is used."""
    rng = np.random.default_rng(0)
    product, sum_of = ops.MatMul(transpose_b=True), ops.BiasAdd()

    def twin(x, weight, bias):
        return sum_of(product(x, weight), bias)

    inputs = [rng.standard_normal(shape) for shape in ((rows, depth), (outputs, depth), (outputs,))]
    return Case("dense_layer", name, dense_layer, twin, inputs, ())


def dense_convolution_case(name: str, channels: int, height: int, width: int, outputs: int, kernel: int) -> Case:
    """Of a residual block: a shift, a residual and a ReLU follow. Without gradients, as it is used."""
    rng = np.random.default_rng(0)
    convolve, add_shift = ops.Conv2D(outputs, kernel, pad_mode="pad", pad=kernel // 2), ops.BiasAdd()
    no_scale = Tensor(np.ones(outputs, np.float32))

    def native(x, weight, shift, residual):
        return dense_convolution(x, weight, no_scale, shift, residual, (1, kernel // 2, 1), True)

    def twin(x, weight, shift, residual):
        return ops.relu(add_shift(convolve(x, weight), shift) + residual)

    shapes = (
        (1, channels, height, width),
        (outputs, channels, kernel, kernel),
        (outputs,),
        (1, outputs, height, width),
    )
    return Case("dense_convolution", name, native, twin, [rng.standard_normal(shape) for shape in shapes], ())


def assignment_case(name: str, problems: int, queries: int, instances: int) -> Case:
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((problems, queries, instances)), np.ones((problems, instances), bool)]
    return Case("assignment", name, assignment, assignment_ref, inputs, ())


def layer_norm_case(name: str, rows: int, channels: int, residual: bool) -> Case:
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((rows, channels)), rng.random(channels), rng.random(channels)]

    def native(x, weight, bias, more=None):
        return layer_norm(x, weight, bias, 1e-5, more)

    def twin(x, weight, bias, more=None):
        return layer_norm_ref(x if more is None else x + more, weight, bias, 1e-5)

    if residual:
        inputs.append(rng.standard_normal((rows, channels)))
    return Case("layer_norm", name, native, twin, inputs, tuple(range(len(inputs))))


def group_norm_case(name: str, shape: tuple[int, ...], groups: int, with_twin: bool = True) -> Case:
    rng = np.random.default_rng(0)

    def native(x, weight, bias):
        return group_norm(x, groups, weight, bias, 1e-5, True)

    def twin(x, weight, bias):
        return ops.relu(group_norm_ref(x, groups, weight, bias, 1e-5))

    inputs = [rng.standard_normal(shape), rng.random(shape[1]), rng.random(shape[1])]
    return Case("group_norm", name, native, twin if with_twin else None, inputs, (0, 1, 2))


def cases() -> list[Case]:
    pixels = sum(h * w for h, w in LEVELS)
    clip = (*(((10, 17),) * 12), (8, 20))
    return [
        attention_case("InstanceFormer/MS-STS encoder, 5 frames 360x640", 5, pixels, LEVELS, 8, 32, 4),
        attention_case("the same, 10 frames", 10, pixels, LEVELS, 8, 32, 4, with_twin=False),
        attention_case("the same, 1 frame", 1, pixels, LEVELS, 8, 32, 4, with_twin=False),
        attention_case("the same, 1 frame, 8 points", 1, pixels, LEVELS, 8, 32, 8, with_twin=False),
        attention_case("MS-STS decoder, 5 frames, 300 queries", 5, 300, LEVELS, 8, 32, 4),
        attention_case("Deformable VisTR encoder, 12 frames + memory", 1, 12 * 170 + 160, clip, 8, 48, 6, False),
        convolution_case("VisTR mask head, 36 of 360 maps 75x135", 36, 48, 24, 75, 135, True),
        convolution_case("VisTR mask head, all 360 maps 75x135", 360, 48, 24, 75, 135, False),
        convolution_case("10 maps 64 -> 32, 38x68", 10, 64, 32, 38, 68, True),
        dense_attention_case("VidEoMT ViT-S, 1805 tokens of 640x640", 6, 1805, 64),
        dense_attention_case("VisTR encoder, 6120 tokens", 8, 6120, 48),
        short_attention_case("MS-STS between scales, 4820 cells, 16 frames", 4820, 16, 32, 64),
        dense_layer_case("VidEoMT ViT-S, 1805 x 384 -> 1536", 1805, 384, 1536),
        dense_layer_case("VisTR encoder, 6120 x 2048 -> 384", 6120, 2048, 384),
        dense_layer_case("InstanceFormer encoder, 4820 x 256 -> 256", 4820, 256, 256),
        dense_convolution_case("ResNet-50 stage 2, 128x45x80 -> 128, 3x3", 128, 45, 80, 128, 3),
        dense_convolution_case("ResNet-50 stage 3, 256x23x40 -> 1024, 1x1", 256, 23, 40, 1024, 1),
        assignment_case("VisTR, 10 slots, 5 instances", 1, 10, 5),
        assignment_case("InstanceFormer, 6 layers, 300 queries, 20 instances", 6, 300, 20),
        layer_norm_case("20000 x 256", 20000, 256, False),
        layer_norm_case("20000 x 256 with residual", 20000, 256, True),
        layer_norm_case("VisTR, 6120 x 384", 6120, 384, False),
        group_norm_case("8 x 256 x 38 x 68, 8 groups, ReLU", (8, 256, 38, 68), 8),
        group_norm_case(
            "VisTR sequence head, 10 x 12 x 36 x 75 x 135, ReLU", (10, 12, 36, 75, 135), 4, with_twin=False
        ),
    ]


def seconds(call: Callable[[], object], budget: float) -> float:
    """Median duration of a call within a time budget, after two calls to warm up."""
    call()
    start = time.perf_counter()
    call()
    once = time.perf_counter() - start
    times = []
    for _ in range(int(max(2, min(50, budget / max(once, 1e-6))))):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def time_graph(function: Callable, inputs: list[Tensor], budget: float) -> float:
    """Duration of a compiled function. Graphs run in the background: reading the results waits for them."""
    compiled = ms.jit(function)

    def call() -> None:
        results = compiled(*inputs)
        for result in results if isinstance(results, tuple) else (results,):
            result.asnumpy()

    return seconds(call, budget)


def forward_and_backward(function: Callable, differentiable: tuple[int, ...]) -> Callable:
    """Gradients of the sum of squares, so that the incoming gradient is a full tensor."""

    def loss(*inputs):
        output = function(*inputs)
        return (output * output).sum()

    return ms.grad(loss, differentiable)


def traffic(case: Case, output: Tensor, backward: bool) -> int:
    """Compulsory bytes."""
    given = sum(a.size * (1 if a.dtype == bool else 4) for a in case.inputs)
    gradients = sum(case.inputs[i].size * 4 for i in case.differentiable)
    forward = given + output.size * 4
    return forward + given + output.size * 4 + gradients if backward else forward


def measure_ceiling() -> float:
    """Bytes per second of adding two arrays of 256 MB."""
    x = Tensor(np.ones(64 * 2**20, np.float32))

    def add(a, b):
        return a + b

    return 3 * 256 * 2**20 / time_graph(add, [x, x], 2.0)


def measure(case: Case, budget: float) -> list[dict]:
    inputs = [Tensor(a if a.dtype == bool else a.astype(np.float32)) for a in case.inputs]
    output = case.native(*inputs)
    rows = []
    for backward in (False, True) if case.differentiable else (False,):
        row = {"op": case.op, "case": case.name, "direction": "forward + backward" if backward else "forward"}
        for kind, function in (("native", case.native), ("twin", case.twin)):
            if function is None:
                continue
            run = forward_and_backward(function, case.differentiable) if backward else function
            row[f"{kind}_ms"] = 1e3 * time_graph(run, inputs, budget)
        row["bytes"] = traffic(case, output, backward)
        rows.append(row)
    return rows


def library_facts() -> str:
    library = ctypes.CDLL(str(library_folder() / CPU_LIBRARY))
    library.mindvideo_instruction_set.restype = ctypes.c_char_p
    return f"{library.mindvideo_instruction_set().decode()}, {library.mindvideo_threads()} threads"


FIELDS = ["op", "case", "direction", "native_ms", "twin_ms", "speedup", "gb_per_s", "share_of_ceiling"]


def complete(row: dict, ceiling: float) -> dict:
    rate = row["bytes"] / (row["native_ms"] * 1e-3)
    row["speedup"] = row["twin_ms"] / row["native_ms"] if "twin_ms" in row else ""
    row["gb_per_s"], row["share_of_ceiling"] = rate / 1e9, f"{100 * rate / ceiling:.3g} %"
    return {key: f"{row[key]:.4g}" if isinstance(row.get(key), float) else row.get(key, "") for key in FIELDS}


def write_csv(path: Path, rows: list[dict], facts: list[str]) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        file.writelines(f"# {fact}\n" for fact in facts)
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only cases whose operator or name contains this")
    parser.add_argument("--csv", type=Path, help="write the figures to this file")
    parser.add_argument("--budget", type=float, default=1.0, help="seconds to spend on each figure")
    options = parser.parse_args()
    if backend() != "cpu":
        raise SystemExit("benchmarks/ops.py compares the CPU library; build it: python custom_ops/build.py")
    ceiling = measure_ceiling()
    facts = [
        f"MindSpore {ms.__version__}, {processor()}, kernels: {library_facts()}",
        f"ceiling (adding two arrays of 256 MB): {ceiling / 1e9:.1f} GB/s",
    ]
    print("\n".join(facts))
    print("| operator | case | direction | native ms | twin ms | ratio | GB/s | of ceiling |")
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    for case in cases():
        if options.only not in case.op and options.only not in case.name:
            continue
        for row in measure(case, options.budget):
            rows.append(complete(row, ceiling))
            print("| " + " | ".join(str(rows[-1][key]) for key in FIELDS) + " |", flush=True)
            if options.csv:
                write_csv(options.csv, rows, facts)


if __name__ == "__main__":
    main()
