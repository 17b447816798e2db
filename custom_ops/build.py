"""Build the native operators into custom_ops/build/<platform>/; needs nothing but Python and the compilers.

    python custom_ops/build.py              build what can be built and is out of date
    python custom_ops/build.py --require    a missing compiler is an error (default: only for the parts asked for)
    python custom_ops/build.py --only cpu   only one part (cpu or cuda)

The package works without these libraries, only slower. CXX and NVCC name other compilers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
STAMPS, SOURCES = "built_from.json", "sources"
CPU_LIBRARY = "libmindvideo_cpu.so"
CUDA_LIBRARY = "libmindvideo_cuda.so"
COMMON_FLAGS = ["-std=c++17", "-O3", "-fPIC", "-Wall", "-Wextra", "-fvisibility=hidden"]
# No contraction: whether a position counts as inside the image must not depend on the instruction set.
KERNEL_FLAGS = ["-ffp-contract=off", "-fno-math-errno"]
CPU_SOURCES = (
    "thread_pool", "assignment", "exports", "tube_overlap", "resize", "photometric", "sample_runs", "patient_wait",
)  # fmt: skip
INSTRUCTION_SETS = {
    "plain": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mavx2", "-mfma"],
}
# Products in bfloat16 (half.cpp); compilers before GCC 11 and Clang 12 do not know all of these.
HALF_FLAGS = [*INSTRUCTION_SETS["avx512"], "-mavx512bf16", "-mamx-tile", "-mamx-bf16"]
WANTED_ARCHITECTURES = (70, 75, 80, 86, 89, 90)


class BuildError(Exception):
    """Something that the user has to change; the message says what."""


def platform_folder() -> str:
    """The same name that mindvideo/ops/backend.py looks for."""
    return f"{sys.platform}-{platform.machine().lower()}"


def is_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")


def run(command: list[str], verbose: bool) -> str:
    """Run a compiler; its messages are shown only when it fails."""
    if verbose:
        print(" ".join(command))
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildError(f"this command failed:\n  {' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def find_cxx() -> str:
    """A C++17 compiler: $CXX, g++, clang++ or c++."""
    chosen = os.environ.get("CXX")
    for name in [chosen] if chosen else ["g++", "clang++", "c++"]:
        path = shutil.which(name)
        if path:
            break
    else:
        raise BuildError(
            f"no C++ compiler found (looked for {chosen or 'g++, clang++, c++'}); "
            "install one, for example: apt-get install g++"
        )
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.cpp"
        source.write_text("#include <thread>\n#if __cplusplus < 201703L\n#error\n#endif\nint main() { return 0; }\n")
        try:
            run([path, "-std=c++17", "-pthread", str(source), "-o", str(source.with_suffix(".out"))], False)
        except BuildError as error:
            raise BuildError(f"{path} cannot compile a C++17 program; set CXX to another compiler\n{error}") from error
    return path


def knows(compiler: str, flags: list[str], verbose: bool) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.cpp"
        source.write_text("int main() { return 0; }\n")
        try:
            run([compiler, *flags, "-c", str(source), "-o", str(source.with_suffix(".o"))], verbose)
        except BuildError:
            return False
    return True


def find_nvcc() -> str:
    """nvcc: $NVCC, the PATH, $CUDA_HOME or /usr/local/cuda."""
    candidates = [os.environ.get("NVCC"), "nvcc"]
    candidates += [
        str(Path(home) / "bin" / "nvcc") for home in (os.environ.get("CUDA_HOME"), "/usr/local/cuda") if home
    ]
    for name in candidates:
        path = shutil.which(name) if name else None
        if path:
            return path
    raise BuildError("no nvcc found; install the CUDA toolkit or set CUDA_HOME to build for NVIDIA GPUs")


def architecture_flags(nvcc: str, verbose: bool) -> list[str]:
    """Machine code for every wanted architecture this nvcc knows, and PTX of the newest for later cards."""
    known = {int(number) for number in re.findall(r"compute_(\d+)\b", run([nvcc, "--list-gpu-arch"], verbose))}
    chosen = [number for number in WANTED_ARCHITECTURES if number in known]
    if not chosen:
        raise BuildError(f"{nvcc} supports none of {WANTED_ARCHITECTURES}; it knows {sorted(known)}")
    left_out = [f"sm_{number}" for number in WANTED_ARCHITECTURES if number not in known]
    if left_out:
        print(f"cuda: this nvcc does not support {', '.join(left_out)}; CUDA 12 builds those as well")
    flags = [f"-gencode=arch=compute_{number},code=sm_{number}" for number in chosen]
    return [*flags, f"-gencode=arch=compute_{chosen[-1]},code=compute_{chosen[-1]}"]


def fingerprint(sources: list[Path], compiler: str) -> str:
    """Changes when a source, this script or the compiler does."""
    digest = hashlib.sha256()
    for path in sorted([*sources, Path(__file__).resolve()]):
        digest.update(path.name.encode() + path.read_bytes())
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    digest.update(f"{compiler} {version} {platform_folder()}".encode())
    return digest.hexdigest()


def sources_hash() -> str:
    """Tells the sources of one version of the package from those of another, whatever compiler there is."""
    digest = hashlib.sha256()
    for path in sorted({*sources_of("cpu"), *sources_of("cuda"), Path(__file__).resolve()}):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def sources_of(part: str) -> list[Path]:
    """Every file that goes into a library."""
    files = [path for path in (HERE / part).iterdir() if path.suffix in (".cpp", ".h", ".cu", ".cuh")]
    return [*files, HERE / "aot.h"]


def build_cpu(folder: Path, compiler: str, verbose: bool) -> None:
    """Compile the kernels once per instruction set and everything else once, then link."""
    cpu = HERE / "cpu"
    with_half = is_x86() and knows(compiler, HALF_FLAGS, verbose)
    define = [*(["-DMINDVIDEO_X86"] if is_x86() else []), *(["-DMINDVIDEO_HALF"] if with_half else [])]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        jobs: list[tuple[Path, Path, list[str]]] = []
        for name in CPU_SOURCES:
            jobs.append((cpu / f"{name}.cpp", Path(scratch) / f"{name}.o", []))
        for name, flags in INSTRUCTION_SETS.items():
            if name == "plain" or is_x86():
                extra = [*KERNEL_FLAGS, *flags, f"-DMINDVIDEO_KERNELS=kernels_{name}"]
                jobs.append((cpu / "isa.cpp", Path(scratch) / f"isa_{name}.o", extra))
        if with_half:
            jobs.append((cpu / "half.cpp", Path(scratch) / "half.o", [*KERNEL_FLAGS, *HALF_FLAGS]))
        for source, target, extra in jobs:
            run([compiler, *COMMON_FLAGS, *define, *extra, "-c", str(source), "-o", str(target)], verbose)
        library = Path(scratch) / CPU_LIBRARY
        objects = [str(target) for _, target, _ in jobs]
        run([compiler, *COMMON_FLAGS, "-shared", "-pthread", *objects, "-o", str(library)], verbose)
        os.replace(library, folder / CPU_LIBRARY)


def build_cuda(folder: Path, nvcc: str, verbose: bool) -> None:
    """Compile the CUDA sources for every architecture. No fast-math: it would break parity."""
    sources = [str(path) for path in sorted((HERE / "cuda").glob("*.cu"))]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        library = Path(scratch) / CUDA_LIBRARY
        flags = ["-std=c++17", "-O3", "-shared", "-Xcompiler=-fPIC,-fvisibility=hidden", "--threads=0"]
        flags += architecture_flags(nvcc, verbose)
        run([nvcc, *flags, *sources, "-o", str(library)], verbose)
        os.replace(library, folder / CUDA_LIBRARY)


PARTS = {"cpu": (CPU_LIBRARY, find_cxx, build_cpu), "cuda": (CUDA_LIBRARY, find_nvcc, build_cuda)}


def update(part: str, folder: Path, force: bool, verbose: bool) -> str:
    """Build one part if it is out of date; returns a line that says what happened."""
    library, find_compiler, build = PARTS[part]
    compiler = find_compiler()
    stamp_file = folder / STAMPS
    stamps = json.loads(stamp_file.read_text()) if stamp_file.is_file() else {}
    now = fingerprint(sources_of(part), compiler)
    if not force and (folder / library).is_file() and stamps.get(part) == now:
        return f"{part}: {folder / library} is up to date"
    build(folder, compiler, verbose)
    stamps[part], stamps[SOURCES] = now, sources_hash()
    temporary = stamp_file.with_suffix(".tmp")
    temporary.write_text(json.dumps(stamps, indent=1))
    os.replace(temporary, stamp_file)
    return f"{part}: built {folder / library} with {compiler}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(PARTS), help="build one part alone")
    parser.add_argument("--require", action="store_true", help="fail when a compiler is missing")
    parser.add_argument("--force", action="store_true", help="build even what is up to date")
    parser.add_argument("--output", type=Path, default=HERE / "build" / platform_folder(), help="folder to build into")
    parser.add_argument("--verbose", action="store_true", help="show the compilers' command lines")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    missing = 0
    for part in [options.only] if options.only else PARTS:
        try:
            PARTS[part][1]()
        except BuildError as reason:
            missing += 1
            print(f"{part}: not built: {reason}")
            continue
        try:
            print(update(part, options.output, options.force, options.verbose))
        except BuildError as error:
            print(f"{part}: build failed: {error}", file=sys.stderr)
            return 1
    if missing and not options.require:
        print("The package works without the missing parts, through MindSpore's own operators, only slower.")
    return 1 if missing and options.require else 0


if __name__ == "__main__":
    sys.exit(main())
