"""Where the compiled libraries of ``custom_ops`` are found."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import platform
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mindvideo.resources import PACKAGE, cache_folder, in_checkout, resource_folder

FOLDER_VARIABLE = "MINDVIDEO_OPS_FOLDER"
CHOICE_VARIABLE = "MINDVIDEO_OPS"
CPU_LIBRARY = "libmindvideo_cpu.so"
PACKAGED, STAMPS = "_native", "built_from.json"  # the folder in a platform wheel; what a library was built from


def platform_folder() -> str:
    """Name of the folder of this platform's libraries, such as ``linux-x86_64``."""
    return f"{sys.platform}-{platform.machine().lower()}"


def library_folder() -> Path:
    """Where the built libraries are looked for: the folder chosen, else the checkout's, else the user's own, else the
    one inside an installed platform wheel.
    """
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen)
    own = own_folder()
    if not in_checkout():
        return packaged_folder() if not any(own.glob("*.so")) and is_of_these_sources(packaged_folder()) else own
    built_here = resource_folder("custom_ops") / "build" / platform_folder()
    return own if not any(built_here.glob("*.so")) and any(own.glob("*.so")) else built_here


def build_folder() -> Path:
    """Where libraries are built: never inside an installed package."""
    folder = library_folder()
    return own_folder() if folder == packaged_folder() else folder


def own_folder() -> Path:
    """The user's own, another one for each version of the sources: no library serves a package it was not made for."""
    return cache_folder() / "ops" / f"{platform_folder()}-{sources_hash()[:12]}"


def packaged_folder() -> Path:
    """Where a platform wheel has its library; in a pure one there is no such folder."""
    return PACKAGE / PACKAGED / platform_folder()


@functools.cache
def sources_hash() -> str:
    """As custom_ops/build.py writes it beside what it builds."""
    return runpy.run_path(str(resource_folder("custom_ops") / "build.py"))["sources_hash"]()


def is_of_these_sources(folder: Path) -> bool:
    """Whether the libraries in ``folder`` were built from the sources that this package has."""
    try:
        return json.loads((folder / STAMPS).read_text(encoding="utf-8"))["sources"] == sources_hash()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def find_function(name: str, *, takes: Sequence[type], returns: type | None) -> Callable[..., int | None] | None:
    """A function of the CPU library, or None where the library is not built, is not wanted or is too old to have it."""
    library = library_folder() / CPU_LIBRARY
    if os.environ.get(CHOICE_VARIABLE) == "reference" or not library.is_file():
        return None
    function = getattr(ctypes.CDLL(str(library)), name, None)
    if function is not None:
        function.argtypes, function.restype = list(takes), returns
    return function
