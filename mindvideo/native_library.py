"""Where the compiled libraries of ``custom_ops`` are found."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mindvideo.resources import cache_folder, in_checkout, resource_folder

FOLDER_VARIABLE = "MINDVIDEO_OPS_FOLDER"
CHOICE_VARIABLE = "MINDVIDEO_OPS"
CPU_LIBRARY = "libmindvideo_cpu.so"


def platform_folder() -> str:
    """Name of the folder of this platform's libraries, such as ``linux-x86_64``."""
    return f"{sys.platform}-{platform.machine().lower()}"


def library_folder() -> Path:
    """Where the built libraries are looked for: the folder chosen, else the checkout's, else the user's own."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen)
    own = cache_folder() / "ops" / platform_folder()
    if not in_checkout():
        return own
    built_here = resource_folder("custom_ops") / "build" / platform_folder()
    return own if not any(built_here.glob("*.so")) and any(own.glob("*.so")) else built_here


def find_function(name: str, *, takes: Sequence[type], returns: type | None) -> Callable[..., int | None] | None:
    """A function of the CPU library, or None where the library is not built, is not wanted or is too old to have it."""
    library = library_folder() / CPU_LIBRARY
    if os.environ.get(CHOICE_VARIABLE) == "reference" or not library.is_file():
        return None
    function = getattr(ctypes.CDLL(str(library)), name, None)
    if function is not None:
        function.argtypes, function.restype = list(takes), returns
    return function
