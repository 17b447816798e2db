"""Check the CPU library through ctypes, without MindSpore: python custom_ops/test_cpu.py [--library FILE]

MINDVIDEO_CPU_ISA=plain, avx2, avx512 or avx512_bf16 checks other instruction sets.
"""

from __future__ import annotations

import argparse
import ctypes
from pathlib import Path

import checks
from aot_call import HostCaller
from build import CPU_LIBRARY, HERE, platform_folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", type=Path, default=HERE / "build" / platform_folder() / CPU_LIBRARY)
    parser.add_argument("--golden", type=Path, default=HERE.parent / "tests" / "golden")
    parser.add_argument("--problems", type=int, default=1000, help="random assignment problems")
    options = parser.parse_args()
    call = HostCaller(options.library)
    call.library.mindvideo_instruction_set.restype = ctypes.c_char_p
    name = call.library.mindvideo_instruction_set().decode()
    call.library.mindvideo_half_instructions.restype = ctypes.c_char_p
    half = call.library.mindvideo_half_instructions().decode()
    if half != "none":
        checks.check_dense_attention(call, half=True)
        checks.check_dense_layer(call, half=True)
        checks.check_dense_convolution(call, half=True)
    cases = checks.check_attention(call, options.golden)
    checks.check_wild_locations(call)
    checks.check_dense_attention(call)
    checks.check_short_attention(call)
    checks.check_dense_layer(call)
    checks.check_dense_layer_gradients(call)
    checks.check_dense_convolution(call)
    checks.check_convolution_gradients(call)
    checks.check_depthwise(call)
    checks.check_gelu(call)
    checks.check_max_pool(call)
    checks.check_dynamic_masks(call)
    checks.check_join_nearest(call)
    checks.check_mask_losses(call)
    checks.check_convolution(call, options.golden)
    checks.check_assignment(call, options.problems)
    checks.check_norms(call)
    threads = call.library.mindvideo_threads()
    parts = f"attention ({cases} deformable cases), layers, convolutions, masks, assignment, norms"
    print(f"{name}, {threads} threads, bfloat16 by {half}: {parts} agree")


if __name__ == "__main__":
    main()
