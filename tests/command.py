"""A command of mindvideo in this process: its exit code and what it prints, without the seconds of a new process."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys

from mindvideo.cli import run_command


def run_here(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """As ``mindvideo NAME ARGUMENTS`` ends: with an exit code, also after a mistake."""
    output, errors, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = [f"mindvideo {name}", *map(str, arguments)]
    code: object = None
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            run_command(name)
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = before
    assert isinstance(code, int), f"{name} ended without an exit code: {code}"
    return subprocess.CompletedProcess([name, *map(str, arguments)], code, output.getvalue(), errors.getvalue())
