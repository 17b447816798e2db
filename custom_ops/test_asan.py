"""Build the CPU library with AddressSanitizer and UBSan and run every check in it: python custom_ops/test_asan.py"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import build

PIPELINE_TESTS = [f"tests/data/test_{name}.py" for name in ("photometric", "resize", "annotations", "clips")]
PIPELINE_TESTS += ["tests/masks/test_rle.py", "tests/masks/test_overlap.py"]


def main() -> int:
    compiler = build.find_cxx()
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g", "-O2"]
    build.COMMON_FLAGS = [flag for flag in build.COMMON_FLAGS if flag != "-O3"] + sanitize
    runtime = build.run([compiler, "-print-file-name=libasan.so"], False).strip()
    failures = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        build.build_cpu(folder, compiler, False)
        # The empty name is the best that the processor has: AMX, where the one before had AVX512-BF16.
        for instruction_set in [*build.INSTRUCTION_SETS, "avx512_bf16", ""] if build.is_x86() else ["plain"]:
            environment = dict(os.environ, LD_PRELOAD=runtime, MINDVIDEO_CPU_ISA=instruction_set)
            # Python itself keeps memory until the end; a wrong access stops the program at once.
            environment["ASAN_OPTIONS"] = "detect_leaks=0:halt_on_error=1"
            command = [sys.executable, str(build.HERE / "test_cpu.py"), "--library", str(folder / build.CPU_LIBRARY)]
            failures += subprocess.run([*command, "--problems", "200"], env=environment).returncode != 0
            # The functions of the data pipeline, through the tests that compare them with their twins.
            environment["MINDVIDEO_OPS_FOLDER"] = str(folder)
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *PIPELINE_TESTS]
            if instruction_set == "plain":  # has no fused multiply-add, so more levels differ from OpenCV's by one
                command += ["-k", "not (both_implementations and noise)"]
            failures += subprocess.run(command, env=environment, cwd=build.HERE.parent).returncode != 0
    print("AddressSanitizer: no wrong access" if failures == 0 else f"AddressSanitizer: {failures} runs failed")
    return failures


if __name__ == "__main__":
    sys.exit(main())
