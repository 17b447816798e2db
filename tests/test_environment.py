"""The process environment: the oneDNN cap is set before MindSpore loads, and it is what makes convolutions quick."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mindvideo.environment import COMPILER_CACHE_VARIABLE, ONEDNN_ISA, ONEDNN_ISA_VARIABLE, require_supported_numpy

PROJECT = Path(__file__).resolve().parents[1]
CONVOLUTION = """
{preparation}
import numpy as np, mindspore as ms
from mindspore import ops
x = ms.Tensor(np.ones((1, 16, 16, 16), np.float32))
w = ms.Tensor(np.ones((16, 16, 3, 3), np.float32))
print(float(ops.conv2d(x, w, padding=1, pad_mode="pad").sum().asnumpy()))
"""


def convolution_log(preparation: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != ONEDNN_ISA_VARIABLE}
    environment["ONEDNN_VERBOSE"] = "1"
    finished = subprocess.run(
        [sys.executable, "-c", CONVOLUTION.format(preparation=preparation)],
        env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    log = finished.stdout + finished.stderr
    assert "convolution" in log, f"oneDNN reported no convolution:\n{log[-2000:]}"
    return log


def test_a_convolution_does_not_fall_to_the_reference_loop():
    assert "ref:any" not in convolution_log("import mindvideo")


def processor_has_avx512() -> bool:
    flags = Path("/proc/cpuinfo")
    return flags.exists() and "avx512f" in flags.read_text()


@pytest.mark.skipif(not processor_has_avx512(), reason="the slow path exists on AVX-512 processors only")
def test_without_the_variable_it_would():
    """Guards the test above: if this fails MindSpore's oneDNN is mended and the cap can go."""
    assert "ref:any" in convolution_log(f"import mindvideo, os; del os.environ['{ONEDNN_ISA_VARIABLE}']")


@pytest.mark.parametrize(("given", "expected"), [(None, ONEDNN_ISA), ("AVX512_CORE", "AVX512_CORE")])
def test_the_cap_is_set_unless_the_user_chose(given, expected):
    environment = {name: value for name, value in os.environ.items() if name != ONEDNN_ISA_VARIABLE}
    if given:
        environment[ONEDNN_ISA_VARIABLE] = given
    code = f"import sys, os, mindvideo; print(os.environ['{ONEDNN_ISA_VARIABLE}'], 'mindspore' in sys.modules)"
    finished = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert finished.stdout.split() == [expected, "False"]


@pytest.mark.parametrize(("settings", "warned"), [({}, True), ({ONEDNN_ISA_VARIABLE: ONEDNN_ISA}, False)])
def test_mindspore_before_mindvideo_gets_one_warning(settings, warned):
    """An empty module stands in for MindSpore, which takes seconds to import; a processor is made to have AVX-512."""
    environment = {name: value for name, value in os.environ.items() if name != ONEDNN_ISA_VARIABLE} | settings
    code = (
        "import sys, types; sys.modules['mindspore'] = types.ModuleType('mindspore')\n"
        "import importlib.util, builtins, io; real = builtins.open\n"
        "flags = 'flags : fma avx2 avx512f'\n"
        "fake = lambda path, *a, **k: io.StringIO(flags) if path == '/proc/cpuinfo' else real(path, *a, **k)\n"
        "builtins.open = fake\n"
        "import mindvideo\n"
        "import mindvideo.environment; mindvideo.environment.prepare_environment()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=PROJECT, capture_output=True, text=True, check=True
    )
    said = [line for line in done.stderr.splitlines() if "RuntimeWarning" in line]
    assert len(said) == int(warned), done.stderr
    assert not warned or ("Import mindvideo first" in said[0] and f"{ONEDNN_ISA_VARIABLE}={ONEDNN_ISA}" in said[0])


PROCESSOR = """
import builtins, io, sys
real = builtins.open
builtins.open = lambda path, *a, **k: io.StringIO({cpuinfo!r}) if path == "/proc/cpuinfo" else real(path, *a, **k)
"""
LACKS_FMA = "processor : 0\nflags : sse4_2 avx avx2\n"


def run_on_processor(cpuinfo: str, code: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", PROCESSOR.format(cpuinfo=cpuinfo) + code], cwd=PROJECT, capture_output=True, text=True
    )


def test_a_processor_that_mindspore_does_not_run_on_gets_one_line(tmp_path):
    """It would die of an illegal instruction otherwise. What needs no MindSpore works."""
    command = "sys.argv = ['mindvideo', *{}]; from mindvideo.cli import main; main()"
    infer = ["infer", "docs/own_data.png", "-c", "vistr", "--weights", "README.md", "--output", str(tmp_path / "out")]
    refused = run_on_processor(LACKS_FMA, command.format(infer))
    assert refused.returncode == 2, refused.stderr
    line = refused.stderr.splitlines()[-1]
    assert "a processor with AVX2 and FMA, and this one has no FMA: models cannot run here" in line
    assert "Traceback" not in refused.stderr
    shown = run_on_processor(LACKS_FMA, command.format(["config", "--show", "vistr"]))
    assert shown.returncode == 0 and "family" in shown.stdout, shown.stderr


@pytest.mark.parametrize("cpuinfo", ["flags\t\t: fma avx2\n", "processor : 0\nFeatures : fp asimd\n", ""])
def test_other_processors_are_let_through(cpuinfo):
    code = "import mindvideo.environment as e; print(e.missing_instructions(), e.has_avx512())"
    assert run_on_processor(cpuinfo, code).stdout.split() == ["[]", "False"]


def test_numpy_2_is_refused_in_one_line():
    with pytest.raises(ImportError, match=r"needs numpy < 2 .* numpy 2\.1\.0 is installed.*pip install") as caught:
        require_supported_numpy("2.1.0")
    assert "\n" not in str(caught.value)
    require_supported_numpy("1.26.4")


def test_the_device_can_be_prepared_after_an_operator_ran():
    """MindSpore refuses to select a device then, the one in use included."""
    program = (
        "import mindvideo, mindspore as ms\n"
        "from mindvideo.assembly.runtime import prepare_device\n"
        "from mindvideo import load_config\n"
        "for _ in range(2):\n"
        "    print(float((ms.Tensor([1.0]) + 1).asnumpy()[0]))\n"
        "    prepare_device(load_config('vistr_toy'))\n"
    )
    finished = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0 and finished.stdout.split() == ["2.0", "2.0"], finished.stderr[-2000:]


CACHED = """
import os, sys
import mindvideo
os.environ.update(MS_COMPILER_CACHE_ENABLE="1", MS_COMPILER_CACHE_PATH=os.path.dirname(sys.argv[0]))
import numpy as np, mindspore as ms
from mindspore import nn

class Sum(nn.Cell):
    def construct(self, x):
        return ms.ops.relu(x).sum()

ms.set_context(mode=ms.GRAPH_MODE)
cell = Sum()
print([float(cell(ms.Tensor(np.ones(int(size), np.float32))).asnumpy()) for size in sys.argv[1:]])
"""


@pytest.mark.slow
def test_the_cache_of_compiled_graphs_is_wrong(tmp_path):
    """If this fails MindSpore's cache looks at shapes, and can be used."""
    script = tmp_path / "cached.py"
    script.write_text(CACHED)

    def sums(*sizes: str) -> str:
        words = [sys.executable, str(script), *sizes]
        return subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.strip()

    assert sums("3", "5") == "[3.0, 5.0]"
    assert sums("5", "3") != "[5.0, 3.0]"


def test_the_cache_of_compiled_graphs_is_switched_off():
    code = f"import mindvideo, os; print(os.environ['{COMPILER_CACHE_VARIABLE}'])"
    environment = {**os.environ, COMPILER_CACHE_VARIABLE: "1"}
    finished = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert finished.stdout == "0\n" and "switched off" in finished.stderr
