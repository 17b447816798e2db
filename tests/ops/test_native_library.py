"""The compiled library: every instruction set, the build script, and life without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mindvideo.native_library import library_folder, platform_folder

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "custom_ops" / "build.py"
LIBRARY = library_folder() / "libmindvideo_cpu.so"
needs_library = pytest.mark.skipif(not LIBRARY.is_file(), reason="custom_ops/build.py has not been run")


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


@needs_library
@pytest.mark.parametrize("instruction_set", ["plain", "avx2", "avx512", "avx512_bf16", ""])
@pytest.mark.parametrize("threads", ["1", "3"])
def test_every_instruction_set_meets_the_golden_numbers(instruction_set, threads, golden):
    done = run(
        ["custom_ops/test_cpu.py", "--golden", str(golden), "--problems", "200", "--library", str(LIBRARY)],
        MINDVIDEO_CPU_ISA=instruction_set,
        MINDVIDEO_NUM_THREADS=threads,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{threads} threads" in done.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for programs the way Linux does")
def test_build_without_compilers(tmp_path):
    nothing = {"PATH": str(tmp_path), "CUDA_HOME": str(tmp_path), "CXX": "no-such-compiler"}
    only = ["--only", "cpu", "--output", str(tmp_path / "build")]
    done = run([str(BUILD), *only], **nothing)
    assert done.returncode == 0, done.stderr
    assert "no C++ compiler found (looked for no-such-compiler)" in done.stdout
    assert "The package works without the missing parts" in done.stdout
    assert run([str(BUILD), *only, "--require"], **nothing).returncode == 1


@needs_library
def test_build_does_nothing_when_nothing_changed():
    done = run([str(BUILD), "--only", "cpu", "--output", str(library_folder())])
    assert "up to date" in done.stdout or "built" in done.stdout
    before = LIBRARY.stat().st_mtime_ns
    assert "up to date" in run([str(BUILD), "--only", "cpu", "--output", str(library_folder())]).stdout
    assert LIBRARY.stat().st_mtime_ns == before


SCRIPT = """
import mindvideo, numpy as np, mindspore as ms, logging
logging.basicConfig(level=logging.INFO)
from mindspore import Tensor
from mindvideo.ops import ms_deform_attn
from mindvideo.ops.backend import backend
value = Tensor(np.ones((1, 4, 1, 2), np.float32))
middle = Tensor(np.full((1, 1, 1, 1, 1, 2), 0.5, np.float32))
print(backend(), ms_deform_attn(value, ((2, 2),), None, middle, Tensor(np.ones((1, 1, 1, 1, 1), np.float32))))
"""


@pytest.mark.parametrize(
    "environment",
    [{"MINDVIDEO_OPS": "reference"}, {"MINDVIDEO_OPS_FOLDER": "/nowhere", "MINDVIDEO_OPS": "auto"}],
)
def test_package_works_without_the_library(environment):
    done = run(["-c", SCRIPT], **environment)
    assert done.returncode == 0, done.stderr
    assert "reference [[[1. 1.]]]" in done.stdout
    assert done.stderr.count("native operators on CPU: reference") == 1


def test_native_can_be_demanded():
    done = run(["-c", SCRIPT], MINDVIDEO_OPS="native", MINDVIDEO_OPS_FOLDER="/nowhere")
    assert done.returncode != 0
    assert "MINDVIDEO_OPS=native, but /nowhere/libmindvideo_cpu.so does not exist; run: mindvideo ops build" in (
        done.stderr
    )


def test_build_and_package_agree_on_the_folder():
    script = "import sys; sys.path.insert(0, 'custom_ops'); import build; print(build.platform_folder())"
    assert run(["-c", script]).stdout.strip() == platform_folder()


# In a process of its own, because peak memory only ever grows: one small call first, for the threads and what Python
# and the loader still fetch, then the large one into memory that was touched before.
GROWTH_OF_FORWARD = """
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, "custom_ops")
from aot_call import HostCaller

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

def call(frames):
    levels = np.array([(45, 80), (23, 40), (12, 20), (6, 10)], np.int32)
    sizes = levels.prod(1)
    starts = np.concatenate([[0], sizes.cumsum()[:-1]]).astype(np.int32)
    pixels, shape = sizes.sum(), (frames, sizes.sum(), 8, 4, 4)
    random = np.random.default_rng(0)
    inputs = [random.standard_normal((frames, pixels, 8, 32), np.float32), levels, starts,
              random.random((*shape, 2), np.float32), random.random(shape, np.float32)]
    output = np.full((frames, pixels, 256), 77, np.float32)
    caller = HostCaller(Path(sys.argv[1]))
    before = peak()
    caller.into("MsDeformAttnForward", inputs, [output])
    return peak() - before, output

call(1)
growth, output = call(5)
assert np.isfinite(output).all() and not (output == 77).any()
print(growth, output.nbytes)
"""


@needs_library
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")
def test_forward_needs_no_more_memory_than_its_output():
    done = run(["-c", GROWTH_OF_FORWARD, str(LIBRARY)])
    assert done.returncode == 0, done.stderr
    growth, output_bytes = (int(number) for number in done.stdout.split())
    assert output_bytes == 5 * 4820 * 256 * 4  # 5 frames at 45x80, 23x40, 12x20, 6x10
    assert growth <= output_bytes


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for programs the way Linux does")
def test_the_command_builds_into_the_folder_that_is_looked_in(tmp_path):
    nothing = {"PATH": str(tmp_path), "CUDA_HOME": str(tmp_path), "CXX": "no-such-compiler", "PYTHONPATH": str(ROOT)}
    nothing["MINDVIDEO_OPS_FOLDER"] = str(tmp_path / "libraries")
    command = ["-m", "mindvideo", "ops", "build", "--only", "cpu"]
    done = run(command, **nothing)
    assert done.returncode == 0, done.stderr
    assert "no C++ compiler found (looked for no-such-compiler)" in done.stdout
    assert run([*command, "--require"], **nothing).returncode == 1
    where = run(["-m", "mindvideo", "ops", "where"], **nothing).stdout
    assert f"{tmp_path / 'libraries'}: nothing; run: mindvideo ops build" in where
