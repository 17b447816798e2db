"""Process-wide settings that have to be in place before MindSpore is imported."""

from __future__ import annotations

import os
import sys

import numpy

# MindSpore 2.9 and 2.10 carry a oneDNN whose AVX-512 path sends every k x k convolution to a reference loop that is
# 100 to 180 times slower. Capped at AVX2 the same convolutions run at the speed other frameworks reach.
ONEDNN_ISA_VARIABLE = "ONEDNN_MAX_CPU_ISA"
ONEDNN_ISA = "AVX2"

# MindSpore's own log: errors only. Its warnings speak of compiler internals, by the screenful.
LOG_LEVEL_VARIABLE, ERRORS_ONLY = "GLOG_v", "3"

# MindSpore 2.10 finds a cached graph by its place in the order of compiling, not by the shapes of its inputs: a run
# that meets its sizes in another order computes with the graph of another size, without an error
# (docs/performance.md).
COMPILER_CACHE_VARIABLE = "MS_COMPILER_CACHE_ENABLE"


def prepare_environment() -> None:
    """Cap oneDNN's instruction set and quiet MindSpore's log, unless the user chose; refuse numpy 2.

    MindSpore's cache of compiled graphs is switched off, because it gives wrong results.
    """
    if os.environ.get(COMPILER_CACHE_VARIABLE) == "1":
        os.environ[COMPILER_CACHE_VARIABLE] = "0"
        sys.stderr.write(
            f"{COMPILER_CACHE_VARIABLE} is switched off: MindSpore's cache takes the graph of one size of frames for "
            "another's (docs/performance.md)\n"
        )
    os.environ.setdefault(ONEDNN_ISA_VARIABLE, ONEDNN_ISA)
    os.environ.setdefault(LOG_LEVEL_VARIABLE, ERRORS_ONLY)
    require_supported_numpy(numpy.__version__)


def require_supported_numpy(version: str) -> None:
    if int(version.split(".", maxsplit=1)[0]) >= 2:
        raise ImportError(
            f"mindvideo needs numpy < 2 because MindSpore 2.10 does; numpy {version} is installed. "
            "Run: pip install 'numpy<2'"
        )
