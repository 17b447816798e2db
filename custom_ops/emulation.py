"""Compile the CUDA sources with the C++ compiler, to run on this processor: see emulation/machine.h.

python custom_ops/emulation.py             builds the checked library and says where it is
python custom_ops/emulation.py --asan      the one with AddressSanitizer and UBSan
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
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


def _compile(sources: list[Path], flags: list[str], folder: Path, compiler: str) -> list[str]:
    objects = [folder / f"{source.stem}.o" for source in sources]
    for source, target in zip(sources, objects):
        build.run(
            [compiler, *FLAGS, *flags, f"-I{EMULATION}", f"-I{build.HERE}", "-c", str(source), "-o", str(target)], False
        )
    return [str(target) for target in objects]


def compile_library(target: Path, variant: str, kernels: list[Path], compiler: str) -> None:
    """`kernels` and the machine into one library; a part of the kernels will do."""
    kernel_flags, machine_flags = VARIANTS[variant]
    sanitize = SANITIZE if variant == "asan" else ["-g1"]
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        folder = Path(scratch)
        machine = sorted(EMULATION.glob("*.cpp"))
        objects = _compile(machine, ["-O2", *machine_flags, *sanitize], folder, compiler)
        objects += _compile(kernels, [*kernel_flags, *sanitize, "-x", "c++"], folder, compiler)
        linked = folder / LIBRARY
        sanitize = sanitize if variant == "asan" else []  # not linked with ThreadSanitizer: memory.cpp takes its place
        build.run([compiler, "-shared", *sanitize, *objects, "-o", str(linked), "-ldl"], False)
        os.replace(linked, target)


def library(variant: str = "checked", kernels: list[Path] | None = None) -> Path:
    """The emulated library, compiled where a source has changed since the last time."""
    kernels = kernels or sorted((build.HERE / "cuda").glob("*.cu"))
    compiler = build.find_cxx()
    headers = [*(build.HERE / "cuda").glob("*.cuh"), *EMULATION.iterdir(), build.HERE / "aot.h", Path(__file__)]
    digest = hashlib.sha256(f"{compiler} {variant}".encode())
    for path in sorted([*kernels, *headers]):
        digest.update(path.name.encode() + path.read_bytes())
    folder = build.HERE / "build" / build.platform_folder() / "emulated"
    target = folder / f"{variant}_{digest.hexdigest()[:16]}" / LIBRARY
    if not target.is_file():
        compile_library(target, variant, kernels, compiler)
    return target


def place_of(library: Path, finding: str) -> str:
    """The finding with the line of the source that its address stands for, where addr2line is there to say."""
    address, tool = re.search(r"@(0x[0-9a-f]+)", finding), shutil.which("addr2line")
    if not address or not tool:
        return finding
    lines = subprocess.run([tool, "-e", str(library), "-i", address[1]], capture_output=True, text=True).stdout.split()
    kernels = [line for line in lines if "/emulation/" not in line and ".cu" in line]
    return finding.replace(address[0], "at " + Path(kernels[0]).name) if kernels else finding


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asan", action="store_true", help="with AddressSanitizer and UBSan")
    options = parser.parse_args()
    print(library("asan" if options.asan else "checked"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
