"""One run on a machine with a GPU: build, check, time, sanitize; a table and a JSON file, in under 8 minutes.

python custom_ops/test_cuda.py                        needs nvcc, libcudart and numpy, scipy; no MindSpore
python custom_ops/test_cuda.py --only checks          build, checks, times, torch or sanitizer only
python custom_ops/test_cuda.py --emulate              the same steps without a card, at small sizes; times mean nothing

Times are compared with the floor (all tensors once over the measured copy bandwidth), with textbook kernels and, where
PyTorch with CUDA is installed, with its grid_sample composition.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import build
import checks
import device_checks
import device_times
import emulation
from aot_call import DeviceCaller, EmulatedCaller, HostCaller

STEPS = ("build", "checks", "times", "torch", "sanitizer")
SECONDS = 480
SANITIZER_TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")


class Session:
    """The libraries, the time that is left, and the report: all that the steps share."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.started = time.monotonic()
        self.report: dict = {"card": card_name(options.emulate), "emulated": options.emulate, "steps": {}}
        self.folder = options.library.parent if options.library else build.HERE / "build" / build.platform_folder()

    def seconds_left(self) -> float:
        return SECONDS - (time.monotonic() - self.started)

    def caller(self) -> DeviceCaller:
        if self.options.emulate:
            return EmulatedCaller(emulation.library())
        return DeviceCaller(self.options.library or self.folder / build.CUDA_LIBRARY, cuda_runtime(self.options.cudart))

    def write(self) -> None:
        temporary = self.options.output.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.report, indent=1) + "\n")
        os.replace(temporary, self.options.output)


def cuda_runtime(wish: str | None) -> str:
    """The runtime library: the one asked for, else the one beside nvcc, else wherever the loader looks."""
    if wish:
        return wish
    try:
        toolkit = Path(build.find_nvcc()).resolve().parents[1]
    except build.BuildError:
        return "libcudart.so"
    found = [path for folder in ("lib64", "targets/*/lib", "lib") for path in toolkit.glob(f"{folder}/libcudart.so*")]
    return str(min(found, key=lambda path: len(path.name))) if found else "libcudart.so"


def card_name(emulate: bool) -> str:
    if emulate:
        return f"none, emulated on {platform.machine()}"
    command = ["nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]
    if not shutil.which(command[0]):
        return "unknown"
    return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[0].strip() or "unknown"


def build_step(session: Session) -> str:
    if session.options.emulate:
        return emulation.library().name
    if session.options.library:
        return f"{session.options.library} as given"
    session.folder.mkdir(parents=True, exist_ok=True)
    parts = [build.update(part, session.folder, False, False) for part in ("cpu", "cuda")]
    return "; ".join(parts)


def checks_step(session: Session) -> str:
    cpu = session.folder / build.CPU_LIBRARY
    reference = HostCaller(cpu) if cpu.is_file() else None
    problems = 100 if session.options.emulate else 1000
    cases = device_checks.check_all(session.caller(), session.options.golden, problems, reference)
    return f"{cases} cases agree" + ("" if reference else "; the CPU library is not built, so not compared with it")


def textbook(session: Session, folder: Path) -> DeviceCaller:
    source = build.HERE / "textbook_baseline.cu"
    if session.options.emulate:
        return EmulatedCaller(emulation.library("checked", [source]))
    library, nvcc = folder / "textbook.so", build.find_nvcc()
    flags = ["-std=c++17", "-O3", "-shared", "-Xcompiler=-fPIC", *build.architecture_flags(nvcc, False)]
    build.run([nvcc, *flags, str(source), "-o", str(library)], False)
    return DeviceCaller(library, cuda_runtime(session.options.cudart))


def times_step(session: Session) -> str:
    with tempfile.TemporaryDirectory() as folder:
        rows = device_times.measure(session.caller(), textbook(session, Path(folder)), small=session.options.emulate)
    session.report["times"] = rows
    return f"{len(rows)} kernels"


def torch_step(session: Session) -> str:
    command = [sys.executable, str(build.HERE / "torch_baseline.py"), *(["--small"] if session.options.emulate else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=max(session.seconds_left(), 1))
    if done.returncode == 3:
        return f"left out: {done.stdout.strip()}"
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    session.report["torch"] = json.loads(done.stdout)
    return "grid_sample composition timed"


def sanitizer_step(session: Session) -> str:
    if session.options.emulate:
        return "left out: the emulation has checked accesses, races and barriers in every step"
    if not shutil.which("compute-sanitizer"):
        return "left out: no compute-sanitizer on the PATH"
    passed: list[str] = []
    for tool in SANITIZER_TOOLS:
        command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "1", sys.executable, __file__]
        command += ["--sanitized-run", "--cudart", cuda_runtime(session.options.cudart)]
        command += ["--library", str(session.options.library or session.folder / build.CUDA_LIBRARY)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=max(session.seconds_left(), 1))
        except subprocess.TimeoutExpired:
            return f"passed: {', '.join(passed) or 'none'}; no time was left for the others"
        if done.returncode != 0:
            raise RuntimeError(f"{tool}: {(done.stdout + done.stderr).strip()[-2000:]}")
        passed.append(tool)
    return f"passed: {', '.join(passed)}"


def sanitized_run(session: Session) -> int:
    """A small set for compute-sanitizer to watch, which is a hundred times slower."""
    call = session.caller()
    for mode in ("0", "1"):
        with device_checks.deterministic(mode):
            checks.attention(call, device_checks.attention_inputs(0))
            checks.attention(call, device_checks.attention_inputs(0), "float16")
            checks.check_convolution(call, session.options.golden)
    checks.check_norms(call)
    checks.check_assignment(call, 25)
    device_checks.check_edges(call)
    return 0


RUN = {
    "build": build_step,
    "checks": checks_step,
    "times": times_step,
    "torch": torch_step,
    "sanitizer": sanitizer_step,
}


def run_step(session: Session, name: str) -> bool:
    begin, passed = time.monotonic(), True
    try:
        said = RUN[name](session)
    except Exception as error:  # noqa: BLE001 - every step reports, so that one run says as much as it can
        said, passed = f"FAILED: {type(error).__name__}: {error}", False
    seconds = time.monotonic() - begin
    session.report["steps"][name] = {"passed": passed, "said": said, "seconds": round(seconds, 1)}
    print(f"{name:10s} {seconds:6.1f} s  {said}", flush=True)
    session.write()
    return passed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emulate", action="store_true", help="a dry run on this processor, see emulation/machine.h")
    parser.add_argument("--only", choices=STEPS, action="append", help="one step; the build comes before every other")
    parser.add_argument("--library", type=Path, help="a library that is built already")
    parser.add_argument("--golden", type=Path, default=build.HERE.parent / "tests" / "golden")
    parser.add_argument("--cudart", help="the CUDA runtime; default: the one beside nvcc")
    parser.add_argument("--output", type=Path, default=Path("cuda_report.json"), help="the JSON file")
    parser.add_argument("--sanitized-run", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    session = Session(options)
    if options.sanitized_run:
        return sanitized_run(session)
    print(f"card: {session.report['card']}")
    wanted = [name for name in STEPS if name == "build" or not options.only or name in options.only]
    passed = True
    for name in wanted:
        if not run_step(session, name):
            passed = False
            if name == "build":
                break  # the others have nothing to run
    print(device_times.table(session.report.get("times", []), session.report.get("torch", {})))
    print(f"{options.output}: {'everything passed' if passed else 'something failed'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
