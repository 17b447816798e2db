"""Build the native operators, or say which libraries this installation uses. Without them everything works, slower."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

from mindvideo.cli.arguments import EXIT_FAILURE, EXIT_OK, OneLineParser
from mindvideo.files import check_place
from mindvideo.native_build import FAILED
from mindvideo.native_library import FOLDER_VARIABLE, build_folder, library_folder
from mindvideo.resources import resource_folder

EXAMPLES = f"""
Examples:
  mindvideo ops build              what can be built and is out of date: CPU, and CUDA where nvcc is found
  mindvideo ops build --only cpu   one part
  mindvideo ops where              the folder of the libraries and what is in it
A checkout builds below custom_ops/build/, an installed package into the user's cache folder (by itself, when a model
first runs and there is a compiler); {FOLDER_VARIABLE} names another folder for both.
"""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = OneLineParser(description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("build", "where"))
    parser.add_argument("--only", choices=("cpu", "cuda"), help="build one part")
    parser.add_argument("--require", action="store_true", help="fail when a compiler is missing")
    parser.add_argument("--force", action="store_true", help="build even what is up to date")
    parser.add_argument("--verbose", action="store_true", help="show the compilers' command lines")
    return parser.parse_args(arguments)


def main() -> int:
    arguments = parse_arguments()
    folder = library_folder()
    if arguments.action == "where":
        libraries = sorted(folder.glob("*.so"))
        print(f"{folder}: {', '.join(path.name for path in libraries) or 'nothing; run: mindvideo ops build'}")
        return EXIT_OK
    folder = build_folder()
    check_place(folder)
    (folder / FAILED).unlink(missing_ok=True)
    command = [sys.executable, str(resource_folder("custom_ops") / "build.py"), "--output", str(folder)]
    command += ["--only", arguments.only] if arguments.only else []
    command += [f"--{name}" for name in ("require", "force", "verbose") if getattr(arguments, name)]
    return EXIT_FAILURE if subprocess.run(command).returncode else EXIT_OK
