"""Times of the CUDA kernels between two events on the device, against the memory floor and textbook kernels."""

from __future__ import annotations

import ctypes

import numpy as np
from aot_call import DeviceCaller

LEVELS = ((64, 64), (32, 32), (16, 16), (8, 8))
SMALL_LEVELS = ((8, 8), (4, 4))


def attention_inputs(levels: tuple, images: int, queries: int, channels: int = 32, points: int = 4) -> list[np.ndarray]:
    """Queries look around their own place, as those of an encoder do."""
    rng = np.random.default_rng(0)
    sizes = np.array(levels, np.int32)
    starts = np.concatenate([[0], np.cumsum(sizes.prod(1))[:-1]]).astype(np.int32)
    shape = (images, queries, 8, len(levels), points)
    centre = rng.random((images, queries, 1, 1, 1, 2))
    locations = centre + rng.standard_normal((*shape, 2)) * 2 / sizes[:, None, ::-1]
    value = rng.standard_normal((images, int(sizes.prod(1).sum()), 8, channels))
    gradient = rng.standard_normal((images, queries, 8 * channels))
    arrays = [value, sizes, starts, locations, rng.random(shape), gradient]
    return [a if a.dtype == np.int32 else a.astype(np.float32) for a in arrays]


def cases(small: bool) -> list[tuple[str, str, list[np.ndarray]]]:
    """(what it is, operator, inputs and outputs) of every kernel that is timed."""
    rng = np.random.default_rng(1)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    inputs = attention_inputs(SMALL_LEVELS if small else LEVELS, *((1, 20) if small else (4, 10_000)))
    half = [a.astype(np.float16) if i in (0, 5) else a for i, a in enumerate(inputs)]
    B, C, outputs, H, W = (1, 8, 4, 6, 10) if small else (10, 64, 32, 38, 68)
    x, offset, weight = normal(B, C, H, W), normal(B, 18, H, W), normal(outputs, C, 3, 3)
    geometry, result = np.array([1, 1, 1], np.int32), normal(B, outputs, H, W)
    rows, width = (9, 32) if small else (20_000, 256)
    tokens, vector, epsilon = normal(rows, width), normal(width), np.array([1e-5], np.float32)
    maps = normal(2, 16, 60) if small else normal(8, 256, 38 * 68)
    options, of_maps = np.array([8, 1e-5, 1], np.float32), normal(maps.shape[1])
    problems = (2, 10, 4) if small else (12, 300, 40)
    name = f"{inputs[3].shape[0]} x {inputs[3].shape[1]} queries"
    return [
        (f"attention, {name}", "MsDeformAttnForward", [*inputs[:5], np.empty_like(inputs[5])]),
        (f"attention, {name}", "MsDeformAttnBackward", [*inputs, *(np.empty_like(inputs[i]) for i in (0, 3, 4))]),
        (f"attention float16, {name}", "MsDeformAttnForward", [*half[:5], np.empty_like(half[5])]),
        (f"attention float16, {name}", "MsDeformAttnBackward", [*half, *(np.empty_like(half[i]) for i in (0, 3, 4))]),
        (f"convolution {x.shape}", "DeformConv2dForward", [x, offset, weight, geometry, result]),
        (f"convolution {x.shape}", "DeformConv2dBackward", [x, offset, weight, geometry, result, x, offset, weight]),
        (f"layer norm {tokens.shape}", "ResidualLayerNormForward", [tokens, tokens, vector, vector, epsilon, tokens]),
        (
            f"layer norm {tokens.shape}",
            "ResidualLayerNormBackward",
            [tokens, tokens, vector, epsilon, tokens, tokens, vector, vector],
        ),
        (f"group norm {maps.shape}", "GroupNormForward", [maps, of_maps, of_maps, options, maps]),
        (
            f"group norm {maps.shape}",
            "GroupNormBackward",
            [maps, of_maps, of_maps, options, maps, maps, of_maps, of_maps],
        ),
        (
            f"assignment {problems}",
            "Assignment",
            [
                normal(*problems),
                np.ones((problems[0], problems[2]), bool),
                np.empty((problems[0], problems[2]), np.int32),
            ],
        ),
    ]


class Stopwatch:
    """Milliseconds between two events on the device."""

    def __init__(self, call: DeviceCaller) -> None:
        self.call, self.events = call, [ctypes.c_void_p(), ctypes.c_void_p()]
        for event in self.events:
            call.check(call.runtime.cudaEventCreate(ctypes.byref(event)))

    def record(self, which: int) -> None:
        self.call.check(self.call.runtime.cudaEventRecord(self.events[which], None))

    def milliseconds(self) -> float:
        self.call.check(self.call.runtime.cudaEventSynchronize(self.events[1]))
        elapsed = ctypes.c_float()
        self.call.check(self.call.runtime.cudaEventElapsedTime(ctypes.byref(elapsed), *self.events))
        return elapsed.value


def milliseconds(call: DeviceCaller, name: str, arrays: list, turns: int) -> float:
    """Of one launch, on tensors of its own."""
    pointers = [call.upload(a) for a in arrays]
    watch = Stopwatch(call)
    for _ in range(1 + turns // 10):
        call.launch(name, arrays, pointers)
    watch.record(0)
    for _ in range(turns):
        call.launch(name, arrays, pointers)
    watch.record(1)
    elapsed = watch.milliseconds() / turns
    for pointer in pointers:
        call.free(pointer)
    return elapsed


def copy_bandwidth(call: DeviceCaller, size: int) -> float:
    """Bytes per second that the card reads and writes when it copies: the measured ceiling."""
    block = np.zeros(size, np.uint8)
    pointers = [call.upload(block), call.upload(block)]
    watch, device_to_device = Stopwatch(call), 3
    for turn in range(11):
        if turn == 1:
            watch.record(0)
        target, source = (ctypes.c_void_p(pointer) for pointer in pointers)
        call.check(call.runtime.cudaMemcpyAsync(target, source, ctypes.c_size_t(size), device_to_device, None))
    watch.record(1)
    elapsed = watch.milliseconds()
    for pointer in pointers:
        call.free(pointer)
    return 10 * 2 * size / (elapsed * 1e-3)


def measure(call: DeviceCaller, textbook: DeviceCaller, small: bool) -> list[dict]:
    """One row a kernel: milliseconds, the floor, and the textbook kernel's where there is one."""
    ceiling = copy_bandwidth(call, 2**16 if small else 2**30)
    turns, rows = (1, []) if small else (50, [])
    for case, name, arrays in cases(small):
        row = {"case": case, "operator": name, "gigabytes_per_second": ceiling / 1e9}
        row["floor_ms"] = 1e3 * sum(a.nbytes for a in arrays) / ceiling
        row["ms"] = milliseconds(call, name, arrays, turns)
        if hasattr(textbook.library, name) and arrays[0].dtype == np.float32:
            row["textbook_ms"] = milliseconds(textbook, name, arrays, turns)
        rows.append(row)
    return rows


def table(rows: list[dict], torch: dict) -> str:
    """The times as lines of Markdown."""
    lines = ["| kernel | case | ms | x floor | textbook | torch |", "|---|---|---:|---:|---:|---:|"]
    for row in rows:
        theirs = f"{row['textbook_ms']:.3f}" if "textbook_ms" in row else ""
        other = torch.get(row["operator"]) if row["case"].startswith("attention,") else None
        lines.append(
            f"| {row['operator']} | {row['case']} | {row['ms']:.3f} | {row['ms'] / row['floor_ms']:.2f} "
            f"| {theirs} | {'' if other is None else f'{other:.3f}'} |"
        )
    return "\n".join(lines)
