"""The command ``mindvideo``: one module a sub-command; its ``main`` reads ``sys.argv``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable

from mindvideo.cli.arguments import EXIT_OK, EXIT_USAGE, run_tool
from mindvideo.errors import UserError

# Sub-command -> what it is for, in the order in which a newcomer needs them.
COMMANDS = {
    "demo": "make data, train, evaluate and track videos, in minutes",
    "prepare": "check, convert, split or make data sets",
    "train": "train a model",
    "launch": "train, eval or infer in several processes on this machine",
    "eval": "evaluate a model, or the results of one, on a labelled set",
    "infer": "find, outline and follow what is in videos",
    "serve": "a page in the browser that does it: drop a video, watch, hide, rename, download",
    "report": "a page about a run",
    "submit": "check and pack results for a benchmark's server",
    "analyze": "draw what an online model saw",
    "weights": "published weights: what there is, and how to get it",
    "convert": "published weights to ours and back",
    "export": "write a network as MindIR",
    "benchmark": "how large and how fast a model is on this machine",
    "config": "list, explain and show configurations",
    "ops": "build the native operators",
    "completion": "completion of commands and options in a shell",
}


# Package that not every installation has -> the extra that brings it.
EXTRAS = {"matplotlib": "analysis", "sklearn": "analysis"}


def run_command(name: str) -> None:
    """Run a sub-command on ``sys.argv[1:]`` and leave the process with its exit code."""
    run_tool(lambda: _main_of(name)())


def _main_of(name: str) -> Callable[[], int | None]:
    try:
        return importlib.import_module(f"mindvideo.cli.{name}").main
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        raise UserError(
            f"{name} needs {error.name}, which is not installed: pip install 'mindvideo[{extra}]'"
        ) from error


def main() -> None:
    """``mindvideo COMMAND ...``"""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in COMMANDS:
        sys.argv = [f"mindvideo {arguments[0]}", *arguments[1:]]
        run_command(arguments[0])
    if arguments == ["--version"]:
        sys.stdout.write(f"mindvideo {importlib.import_module('mindvideo').__version__}\n")
        sys.exit(EXIT_OK)
    wanted_help = not arguments or arguments[0] in ("-h", "--help")
    stream = sys.stdout if wanted_help else sys.stderr
    if not wanted_help:
        stream.write(f"error: no command '{arguments[0]}'\n")
    stream.write("usage: mindvideo COMMAND ...   (mindvideo COMMAND --help explains a command)\n\n")
    stream.write("".join(f"  {name:<10} {purpose}\n" for name, purpose in COMMANDS.items()))
    sys.exit(EXIT_OK if wanted_help else EXIT_USAGE)
