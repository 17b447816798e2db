"""Check and time the CUDA library on a machine with a GPU, with only libcudart (no MindSpore, no PyTorch).

python custom_ops/build.py --only cuda
python custom_ops/test_cuda.py              goldens, wild locations, assignment, deterministic mode, then timings
python custom_ops/test_cuda.py --sanitize   the checks again under compute-sanitizer
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import sys
import tempfile
from pathlib import Path

import checks
import numpy as np
from aot_call import DeviceCaller
from build import CUDA_LIBRARY, HERE, architecture_flags, find_nvcc, platform_folder, run

LEVELS = ((64, 64), (32, 32), (16, 16), (8, 8))


def run_checks(call: DeviceCaller, golden: Path) -> None:
    for mode in ("0", "1"):
        ctypes.CDLL(None).setenv(b"MINDVIDEO_DETERMINISTIC", mode.encode(), 1)
        # With weights that are not finite the deterministic sum is NaN as a whole, see the README.
        cases = checks.check_attention(call, golden, wild_weights=mode == "0")
        checks.check_attention(call, golden, half=True)
        checks.check_wild_locations(call)
        print(f"deterministic={mode}: {cases} attention cases agree in float32, and in float16")
    inputs = benchmark_inputs(1, 500)
    first, second = (checks.attention(call, inputs) for _ in range(2))
    assert all(np.array_equal(first[key], second[key]) for key in first)
    print("deterministic mode: two runs are equal bit by bit")
    ctypes.CDLL(None).setenv(b"MINDVIDEO_DETERMINISTIC", b"0", 1)
    checks.check_assignment(call, 1000)
    print("assignment: total costs equal scipy's")


def benchmark_inputs(images: int, queries: int, heads: int = 8, channels: int = 32, points: int = 4) -> list:
    rng = np.random.default_rng(0)
    sizes = np.array(LEVELS, np.int32)
    starts = np.concatenate([[0], np.cumsum(sizes.prod(1))[:-1]]).astype(np.int32)
    shape = (images, queries, heads, len(LEVELS), points)
    centre = rng.random((images, queries, 1, 1, 1, 2))
    locations = centre + rng.standard_normal((*shape, 2)) * 2 / sizes[:, None, ::-1]
    value = rng.standard_normal((images, int(sizes.prod(1).sum()), heads, channels))
    gradient = rng.standard_normal((images, queries, heads * channels))
    arrays = [value, sizes, starts, locations, rng.random(shape), gradient]
    return [a if a.dtype == np.int32 else a.astype(np.float32) for a in arrays]


def milliseconds(call: DeviceCaller, name: str, arrays: list, pointers: list[int], turns: int = 50) -> float:
    """Time on the device between two events."""
    runtime, events = call.runtime, [ctypes.c_void_p(), ctypes.c_void_p()]
    for event in events:
        call.check(runtime.cudaEventCreate(ctypes.byref(event)))
    for _ in range(5):
        call.launch(name, arrays, pointers)
    call.check(runtime.cudaEventRecord(events[0], None))
    for _ in range(turns):
        call.launch(name, arrays, pointers)
    call.check(runtime.cudaEventRecord(events[1], None))
    call.check(runtime.cudaEventSynchronize(events[1]))
    elapsed = ctypes.c_float()
    call.check(runtime.cudaEventElapsedTime(ctypes.byref(elapsed), *events))
    return elapsed.value / turns


def copy_bandwidth(call: DeviceCaller) -> float:
    """Bytes per second that the card reads and writes when it copies 1 GiB: the measured ceiling."""
    block = np.empty(2**30, np.uint8)
    pointers = [call.upload(block), call.upload(block)]
    runtime, events = call.runtime, [ctypes.c_void_p(), ctypes.c_void_p()]
    for event in events:
        call.check(runtime.cudaEventCreate(ctypes.byref(event)))
    for turn in range(11):
        if turn == 1:
            call.check(runtime.cudaEventRecord(events[0], None))
        target, source = (ctypes.c_void_p(pointer) for pointer in pointers)
        device_to_device = 3
        call.check(runtime.cudaMemcpyAsync(target, source, ctypes.c_size_t(block.nbytes), device_to_device, None))
    call.check(runtime.cudaEventRecord(events[1], None))
    call.check(runtime.cudaEventSynchronize(events[1]))
    elapsed = ctypes.c_float()
    call.check(runtime.cudaEventElapsedTime(ctypes.byref(elapsed), *events))
    for pointer in pointers:
        call.free(pointer)
    return 10 * 2 * block.nbytes / (elapsed.value * 1e-3)


def textbook_library(folder: str) -> Path:
    library = Path(folder) / "textbook.so"
    nvcc = find_nvcc()
    flags = ["-std=c++17", "-O3", "-shared", "-Xcompiler=-fPIC", *architecture_flags(nvcc, False)]
    run([nvcc, *flags, str(HERE / "textbook_baseline.cu"), "-o", str(library)], False)
    return library


def benchmark(call: DeviceCaller, textbook: DeviceCaller) -> None:
    ceiling = copy_bandwidth(call)
    print(f"measured copy bandwidth {ceiling / 1e9:.0f} GB/s")
    inputs = benchmark_inputs(4, 10_000)
    N, Lq, MD = inputs[5].shape
    output = np.empty((N, Lq, MD), np.float32)
    gradients = [np.empty_like(inputs[i]) for i in (0, 3, 4)]
    forward, backward = [*inputs[:5], output], [*inputs, *gradients]
    for name, arrays in (("MsDeformAttnForward", forward), ("MsDeformAttnBackward", backward)):
        pointers = [call.upload(a) for a in arrays]
        floor = 1e3 * sum(a.nbytes for a in arrays) / ceiling
        ours, theirs = (milliseconds(which, name, arrays, pointers) for which in (call, textbook))
        print(
            f"{name}: {ours:.3f} ms, {ours / floor:.2f} x the memory floor of {floor:.3f} ms; "
            f"textbook {theirs:.3f} ms ({theirs / ours:.2f} x slower)"
        )
        for pointer in pointers:
            call.free(pointer)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, default=HERE / "build" / platform_folder() / CUDA_LIBRARY)
    parser.add_argument("--golden", type=Path, default=HERE.parent / "tests" / "golden")
    parser.add_argument("--cudart", default="libcudart.so", help="the CUDA runtime to use")
    parser.add_argument("--checks-only", action="store_true")
    parser.add_argument("--sanitize", action="store_true", help="run the checks under compute-sanitizer")
    options = parser.parse_args()
    if options.sanitize:
        command = ["compute-sanitizer", "--error-exitcode", "1", sys.executable, __file__, "--checks-only"]
        return subprocess.run([*command, "--library", str(options.library)]).returncode
    call = DeviceCaller(options.library, options.cudart)
    run_checks(call, options.golden)
    if not options.checks_only:
        with tempfile.TemporaryDirectory() as folder:
            benchmark(call, DeviceCaller(textbook_library(folder), options.cudart))
    return 0


if __name__ == "__main__":
    sys.exit(main())
