"""The CUDA kernels, compiled by the C++ compiler and run on this processor by a machine that checks what they do."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "custom_ops"))

import build  # noqa: E402
import device_checks  # noqa: E402
import emulation  # noqa: E402
from aot_call import EmulatedCaller, OperatorError  # noqa: E402

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not shutil.which(os.environ.get("CXX", "g++")), reason="needs a compiler"
)
EXPORTED = [
    f"{name}{way}"
    for name in ("MsDeformAttn", "DeformConv2d", "LayerNorm", "ResidualLayerNorm", "GroupNorm")
    for way in ("Forward", "Backward")
] + ["Assignment"]
GRADIENTS = ("InputGradient", "WeightGradient")
ONLY_CPU = ("DenseAttention", "ShortAttention", "MaxPool", "Gelu", "GeluGradient")
ONLY_CPU += ("DepthwiseConvolution", "DepthwiseWeightGradient", "CounterDropout")
ONLY_CPU += ("HalfDenseAttention", "HalfDenseLayer", "HalfDenseConvolution")
ONLY_CPU += ("DynamicMasks", "JoinNearest", "JoinNearestGradient")
ONLY_CPU += ("FocalRows", "FocalRowsGradient", "DiceRows", "DiceRowsGradient")


def test_the_script_for_a_card_passes_without_one(golden, tmp_path):
    """Goldens in three types, wild locations, deterministic mode, assignment, norms, convolution, edges; a report."""
    report = tmp_path / "report.json"
    command = [sys.executable, "custom_ops/test_cuda.py", "--emulate", "--output", str(report), "--golden", str(golden)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert [step["passed"] for step in found["steps"].values()] == [True] * 5
    assert int(found["steps"]["checks"]["said"].split()[0]) >= 250
    assert {row["operator"] for row in found["times"]} == set(EXPORTED) - {"LayerNormForward", "LayerNormBackward"}
    assert "| MsDeformAttnForward | attention, 1 x 20 queries |" in done.stdout


def test_every_operator_of_the_cpu_library_has_a_kernel():
    """The functions that MindSpore may call are the same in both libraries, but for what cuBLAS and cuDNN do there."""
    exported = re.compile(r"^(?:MINDVIDEO_OP|LAYER_NORM_OP)\((\w+)[,)]|^MINDVIDEO_EXPORT int (\w+)\(int count", re.M)
    found = [
        {a or b for path in (build.HERE / folder).iterdir() for a, b in exported.findall(path.read_text())} - {"name"}
        for folder in ("cpu", "cuda")
    ]
    layers = {name + kind for name in ("DenseLayer", "DenseConvolution") for kind in ("", *GRADIENTS)}
    assert found == [{*EXPORTED, *ONLY_CPU, *layers}, set(EXPORTED)]


def test_other_orders_of_blocks_warps_and_lanes(golden):
    """Results hold, and those of the deterministic mode are the same bits, whatever order the threads run in."""
    results = []
    for seed in (1, 2, 3):
        call = EmulatedCaller(emulation.library(), seed)
        with device_checks.deterministic("1"):
            results.append(device_checks.checks.attention(call, device_checks.attention_inputs(0)))
        device_checks.checks.check_convolution(call, golden)
        device_checks.checks.check_norms(call)
        device_checks.checks.check_assignment(call, 50)
    for name, expected in results[0].items():
        assert all((other[name] == expected).all() for other in results[1:]), name


ASAN_SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, "custom_ops")
import checks, device_checks
from aot_call import EmulatedCaller
call, golden = EmulatedCaller(Path(sys.argv[1])), Path(sys.argv[2])
print(checks.check_attention(call, golden), "cases")
checks.check_wild_locations(call)
checks.check_convolution(call, golden)
checks.check_norms(call)
checks.check_assignment(call, 25)
print(device_checks.check_repeatable(call) + device_checks.check_half_norms(call, "bfloat16"), "more")
print(device_checks.check_edges(call), "edges")
"""


def test_under_address_sanitizer(golden):
    """A smaller set, with the end of every tensor and of shared memory, alignment and conversions watched."""
    runtime = subprocess.run([build.find_cxx(), "-print-file-name=libasan.so"], capture_output=True, text=True)
    if not Path(runtime.stdout.strip()).is_absolute():
        pytest.skip("the compiler has no AddressSanitizer")
    environment = {**os.environ, "LD_PRELOAD": runtime.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0"}
    command = [sys.executable, "-c", ASAN_SCRIPT, str(emulation.library("asan")), str(golden)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16 cases" in done.stdout and "11 edges" in done.stdout


# Each mistake: the file, the words, their replacement, which of them, the check that runs, and what must be found.
PLANTED = {
    "a barrier between zeros and sums in shared memory": (
        "ms_deform_attn_backward.cu",
        ("    __syncthreads();\n  }\n  const int64_t begin", "  }\n  const int64_t begin"),
        "attention",
        "shared memory is read before it is written|race in shared memory",
    ),
    "half of a warp in the mask of a shuffle": (
        "ms_deform_attn_backward.cu",
        ("__shfl_down_sync(0xffffffffu", "__shfl_down_sync(0x0000ffffu"),
        "attention",
        "with mask 0x0000ffff, which leaves it out",
    ),
    "sums that start from whatever lies there": (
        "ms_deform_attn_backward.cu",
        ("staged[i] = 0.f;", "(void)i;"),
        "attention",
        "shared memory is read before it is written",
    ),
    "the barrier before a block's sum": (
        "layer_norm.cu",
        ("  __syncthreads();\n", ""),
        "norms",
        "shared memory",
    ),
    "a lane that fills what others still look at": (
        "assignment.cu",
        ("    __syncwarp();  // every lane has seen", "    // every lane has seen"),
        "assignment",
        "race in device memory",
    ),
    "one row too many": (
        "layer_norm.cu",
        ("  if (row >= count) return;\n", ""),
        "norms",
        "which no allocation holds",
    ),
}


HALF_TYPES = """  if (call.is(0, "float16")) return backward<__half>(a, call, on);
  return backward<__nv_bfloat16>(a, call, on);"""


def backward_of_attention(call: EmulatedCaller) -> None:
    value, *others, gradient = device_checks.attention_inputs(0)
    wanted = [(a.shape, a.dtype) for a in (value, *others[2:])]
    call("MsDeformAttnBackward", [value, *others, gradient], wanted)


def backward_of_layer_norm(call: EmulatedCaller) -> None:
    x, vector, epsilon = np.ones((5, 7), np.float32), np.ones(7, np.float32), np.ones(1, np.float32)
    call("LayerNormBackward", [x, vector, epsilon, x], [((5, 7), np.float32), ((7,), np.float32), ((7,), np.float32)])


CHECKS = {
    "attention": backward_of_attention,
    "norms": backward_of_layer_norm,
    "assignment": lambda call: device_checks.checks.check_assignment(call, 50),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mistake_is_found(name, tmp_path):
    file, (words, instead), check, expected = PLANTED[name]
    patched = tmp_path / "cuda"
    shutil.copytree(build.HERE / "cuda", patched)
    shutil.copy(build.HERE / "aot.h", tmp_path)
    source = (patched / file).read_text()
    assert words in source
    source = source.replace(words, instead)
    # Without the half types it compiles in a third of the time.
    (patched / file).write_text(source.replace(HALF_TYPES, "  return kWrongType;"))
    emulation.compile_library(tmp_path / emulation.LIBRARY, "checked", [patched / file], build.find_cxx())
    with pytest.raises(OperatorError, match=expected) as found:
        CHECKS[check](EmulatedCaller(tmp_path / emulation.LIBRARY))
    # The finding names a line of the kernels' sources, not of the machine.
    assert re.search(r" at \w+\.cuh?:\d+", str(found.value)) or not shutil.which("addr2line")
