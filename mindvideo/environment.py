"""Process-wide settings that have to be in place before MindSpore is imported."""

from __future__ import annotations

import importlib.abc
import os
import sys
import warnings

import numpy

from mindvideo.errors import UserError

# MindSpore 2.9 and 2.10 carry a oneDNN whose AVX-512 path sends every k x k convolution to a reference loop that is
# 100 to 180 times slower. Capped at AVX2 the same convolutions run at the speed other frameworks reach.
ONEDNN_ISA_VARIABLE = "ONEDNN_MAX_CPU_ISA"
ONEDNN_ISA = "AVX2"

# MindSpore's kernels for x86-64 are compiled for these; without them a process dies of the first one, without a word.
MINDSPORE_NEEDS = ("AVX2", "FMA")

# MindSpore's own log: errors only. Its warnings speak of compiler internals, by the screenful.
LOG_LEVEL_VARIABLE, ERRORS_ONLY = "GLOG_v", "3"

# MindSpore 2.10 finds a cached graph by its place in the order of compiling, not by the shapes of its inputs: a run
# that meets its sizes in another order computes with the graph of another size, without an error
# (docs/performance.md).
COMPILER_CACHE_VARIABLE = "MS_COMPILER_CACHE_ENABLE"


def prepare_environment() -> None:
    """Cap oneDNN's instruction set and quiet MindSpore's log, unless the user chose; refuse numpy 2.

    On a processor that MindSpore does not run on, its import is refused: what needs no network goes on working there.
    MindSpore's cache of compiled graphs is switched off, because it gives wrong results. Where MindSpore is loaded
    already one warning says what that may cost: oneDNN reads its variable when the first operator runs.
    """
    if "mindspore" in sys.modules and ONEDNN_ISA_VARIABLE not in os.environ and has_avx512():
        warnings.warn(
            "mindspore was imported before mindvideo: if it has run an operator already, convolutions may be 100 times "
            "slower on this processor. Import mindvideo first, or start Python with "
            f"{ONEDNN_ISA_VARIABLE}={ONEDNN_ISA}",
            RuntimeWarning,
            stacklevel=3,
        )
    if os.environ.get(COMPILER_CACHE_VARIABLE) == "1":
        os.environ[COMPILER_CACHE_VARIABLE] = "0"
        sys.stderr.write(
            f"{COMPILER_CACHE_VARIABLE} is switched off: MindSpore's cache takes the graph of one size of frames for "
            "another's (docs/performance.md)\n"
        )
    os.environ.setdefault(ONEDNN_ISA_VARIABLE, ONEDNN_ISA)
    os.environ.setdefault(LOG_LEVEL_VARIABLE, ERRORS_ONLY)
    require_supported_numpy(numpy.__version__)
    if missing := missing_instructions():
        sys.meta_path.insert(0, _RefusedMindSpore(missing))


def processor_flags() -> set[str] | None:
    """Of an x86-64 processor, as Linux tells them; empty for other kinds, None where nobody says."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            return next((set(line.partition(":")[2].split()) for line in stream if line.startswith("flags")), set())
    except OSError:
        return None


def has_avx512() -> bool:
    """Whether this processor has the instructions that oneDNN's slow path needs; True where nobody says."""
    flags = processor_flags()
    return flags is None or "avx512f" in flags


def missing_instructions() -> list[str]:
    """Those of ``MINDSPORE_NEEDS`` that this processor lacks; none where nobody says."""
    flags = processor_flags()
    return [name for name in MINDSPORE_NEEDS if name.lower() not in flags] if flags else []


class _RefusedMindSpore(importlib.abc.MetaPathFinder):
    """Stands before the import of MindSpore and says what the processor lacks."""

    def __init__(self, missing: list[str]) -> None:
        self._missing = missing

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "mindspore":
            raise UserError(
                f"MindSpore needs a processor with {' and '.join(MINDSPORE_NEEDS)}, and this one has no "
                f"{' and no '.join(self._missing)}: models cannot run here; preparing data and scoring results can"
            )


def require_supported_numpy(version: str) -> None:
    if int(version.split(".", maxsplit=1)[0]) >= 2:
        raise ImportError(
            f"mindvideo needs numpy < 2 because MindSpore 2.10 does; numpy {version} is installed. "
            "Run: pip install 'numpy<2'"
        )
