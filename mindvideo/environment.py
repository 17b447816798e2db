"""Process-wide settings that have to be in place before MindSpore is imported."""

from __future__ import annotations

import os

import numpy

# MindSpore 2.9 and 2.10 carry a oneDNN whose AVX-512 path sends every k x k convolution to a reference loop that is
# 100 to 180 times slower. Capped at AVX2 the same convolutions run at the speed other frameworks reach.
ONEDNN_ISA_VARIABLE = "ONEDNN_MAX_CPU_ISA"
ONEDNN_ISA = "AVX2"

# MindSpore's own log: errors only. Its warnings speak of compiler internals, by the screenful.
LOG_LEVEL_VARIABLE, ERRORS_ONLY = "GLOG_v", "3"


def prepare_environment() -> None:
    """Cap oneDNN's instruction set and quiet MindSpore's log, unless the user chose; refuse numpy 2."""
    os.environ.setdefault(ONEDNN_ISA_VARIABLE, ONEDNN_ISA)
    os.environ.setdefault(LOG_LEVEL_VARIABLE, ERRORS_ONLY)
    require_supported_numpy(numpy.__version__)


def require_supported_numpy(version: str) -> None:
    if int(version.split(".", maxsplit=1)[0]) >= 2:
        raise ImportError(
            f"mindvideo needs numpy < 2 because MindSpore 2.10 does; numpy {version} is installed. "
            "Run: pip install 'numpy<2'"
        )
