"""Compile the CUDA sources with the C++ compiler, to run on this processor: see emulation/machine.h.

python custom_ops/emulation.py             builds the checked library and says where it is
python custom_ops/emulation.py --asan      the one with AddressSanitizer and UBSan
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import build

EMULATION = build.HERE / "emulation"
LIBRARY = "libmindvideo_cuda_emulated.so"
# The compiler calls a function before every access to memory; ours, not ThreadSanitizer's, since it is not linked.
VARIANTS = {
    "checked": (["-O1", "-fsanitize=thread", "-D__CUDA_ARCH__=900"], ["-DEMULATION_CHECKED"]),
    "asan": (["-O1", "-D__CUDA_ARCH__=750"], []),
}
SANITIZE = ["-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all", "-g1"]
FLAGS = ["-std=c++17", "-fPIC", "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-fvisibility=hidden", "-ffp-contract=off"]


def sources(cuda: Path) -> list[Path]:
    """What is compiled as kernels: everything in the folder, and the textbook kernels' file where it lies beside it."""
    return sorted(cuda.glob("*.cu"))


def compile_library(target: Path, variant: str, cuda: Path, compiler: str) -> None:
    kernel_flags, machine_flags = VARIANTS[variant]
    sanitize = SANITIZE if variant == "asan" else ["-g1"]
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        objects = []
        for source in sources(cuda):
            objects.append(str(Path(scratch) / f"{source.stem}.o"))
            command = [compiler, *FLAGS, *kernel_flags, *sanitize, f"-I{EMULATION}", f"-I{build.HERE}", "-x", "c++"]
            build.run([*command, "-c", str(source), "-o", objects[-1]], False)
        for source in sorted(EMULATION.glob("*.cpp")):
            objects.append(str(Path(scratch) / f"{source.stem}.o"))
            command = [compiler, *FLAGS, "-O2", *machine_flags, *sanitize, f"-I{EMULATION}"]
            build.run([*command, "-c", str(source), "-o", objects[-1]], False)
        library = Path(scratch) / LIBRARY
        build.run([compiler, "-shared", *(sanitize if variant == "asan" else []), *objects, "-o", str(library), "-ldl"], False)
        os.replace(library, target)


def library(variant: str = "checked", cuda: Path | None = None) -> Path:
    """The emulated library, compiled where a source has changed since the last time."""
    cuda = cuda or build.HERE / "cuda"
    compiler = build.find_cxx()
    parts = [*cuda.glob("*.cu*"), *EMULATION.iterdir(), build.HERE / "aot.h", Path(__file__)]
    digest = hashlib.sha256(f"{compiler} {variant}".encode())
    for path in sorted(parts):
        digest.update(path.name.encode() + path.read_bytes())
    folder = build.HERE / "build" / build.platform_folder() / "emulated"
    target = folder / f"{variant}_{digest.hexdigest()[:16]}" / LIBRARY
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        compile_library(target, variant, cuda, compiler)
    return target


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asan", action="store_true", help="with AddressSanitizer and UBSan")
    print(library("asan" if parser.parse_args().asan else "checked"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
