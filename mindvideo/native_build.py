"""An installed package builds its CPU library into the user's cache folder when a model first runs."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

from mindvideo.native_library import CHOICE_VARIABLE, CPU_LIBRARY, library_folder
from mindvideo.resources import in_checkout, resource_folder

COMPILERS = ("g++", "clang++", "c++")  # those that custom_ops/build.py looks for
FAILED = "build_failed.txt"  # beside the library: it is not tried again until somebody runs `mindvideo ops build`
_log = logging.getLogger("mindvideo.ops")


def build_on_first_use() -> bool:
    """Whether a library was built now. Without a compiler, or where the cache cannot be written, nothing happens.

    Nothing is built in a checkout: there `make ops` and `mindvideo ops build` build. Several processes take turns.
    """
    folder = library_folder()
    if in_checkout() or os.environ.get(CHOICE_VARIABLE) == "reference" or (folder / CPU_LIBRARY).is_file():
        return False
    if not has_compiler() or (folder / FAILED).is_file():
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ".lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return not (folder / CPU_LIBRARY).is_file() and _build(folder)
    except OSError as error:
        _log.warning("the native operators are not built: %s cannot be written (%s)", folder, error.strerror or error)
        return False


def has_compiler() -> bool:
    chosen = os.environ.get("CXX")
    return any(shutil.which(name) for name in ([chosen] if chosen else COMPILERS))


def _build(folder: Path) -> bool:
    _log.warning("building the native operators into %s, once; this takes a minute or two", folder)
    command = [
        sys.executable,
        str(resource_folder("custom_ops") / "build.py"),
        "--only",
        "cpu",
        "--output",
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if (folder / CPU_LIBRARY).is_file():
        return True
    said = (done.stdout + done.stderr).strip() or f"exit code {done.returncode}"
    (folder / FAILED).write_text(said + "\n", encoding="utf-8")
    _log.warning(
        "the native operators could not be built (%s); everything works without them, slower. "
        "'mindvideo ops build' tries again, all that the compiler said is in %s",
        said.splitlines()[0][:200],
        folder / FAILED,
    )
    return False
