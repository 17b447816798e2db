"""Where the compiled libraries of ``custom_ops`` are found."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

FOLDER_VARIABLE = "MINDVIDEO_OPS_FOLDER"
CHOICE_VARIABLE = "MINDVIDEO_OPS"
CPU_LIBRARY = "libmindvideo_cpu.so"


def platform_folder() -> str:
    """Name of the folder of this platform's libraries, such as ``linux-x86_64``."""
    return f"{sys.platform}-{platform.machine().lower()}"


def library_folder() -> Path:
    """Where the built libraries are looked for."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen)
    return Path(__file__).resolve().parents[1] / "custom_ops" / "build" / platform_folder()
