"""The arguments and exit codes that the commands have in common."""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from mindvideo.errors import UserError
from mindvideo.files import NO_ROOM
from mindvideo.logs import note_in_file

EXIT_OK, EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

# Faults of a disk or a folder, not of the program.
FAULTS_OF_THE_PLACE = (*NO_ROOM, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.EIO)

CONFIG_EPILOG = """\
A configuration is a bare name (vistr finds config/vistr/vistr.yaml from any folder) or a path to a YAML file.
Trailing SECTION.KEY=VALUE arguments override it, for instance:  optimizer.learning_rate=5e-5 data.workers=4
'mindvideo config --list' lists the configurations; '--explain SECTION.KEY' tells what a key means.
Exit codes: 0 done, 1 something of ours failed, 2 a mistake in what was given, 130 interrupted.
"""


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, as for all other mistakes."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; more: {self.prog} --help")


def whole_number(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """Argument type of whole numbers in a range."""
    return _in_range(int, "a whole number", minimum, maximum)


def number(minimum: float, maximum: float) -> Callable[[str], float]:
    """Argument type of numbers in a range."""
    return _in_range(float, "a number", minimum, maximum)


def _in_range(convert: type, kind: str, minimum: float, maximum: float | None) -> Callable[[str], Any]:
    allowed = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"

    def parse(given: str) -> Any:
        try:
            value = convert(given)
        except (ValueError, OverflowError):
            value = None
        if value is None or not value >= minimum or (maximum is not None and value > maximum):
            raise argparse.ArgumentTypeError(f"{given[:80]}: {kind} {allowed} is needed")
        return value

    return parse


def config_parser(description: str, *, config_required: bool = True) -> argparse.ArgumentParser:
    """A parser with ``-c``, ``--weights``, ``--output`` and the overrides; tools add their own flags."""
    parser = OneLineParser(
        description=description, epilog=CONFIG_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-c", "--config", required=config_required, metavar="NAME", help="configuration: name or file")
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="weights: .ckpt, .pth, .pt, .pkl, .safetensors, a name of 'mindvideo weights', or hf:owner/repository",
    )
    parser.add_argument("--output", metavar="DIR", help="folder for everything written (default: runs/<time>-<name>)")
    parser.add_argument("overrides", nargs="*", metavar="SECTION.KEY=VALUE", help="changes to the configuration")
    return parser


def run_tool(main: Callable[[], int | None]) -> None:
    """Run a tool's ``main`` and leave the process with the right code; a mistake of the caller shows no traceback."""
    try:
        code = main() or EXIT_OK
    except UserError as error:
        _show_line(str(error))
        code = EXIT_USAGE
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away (`| head`)
        sys.stderr.close()
        code = EXIT_OK
    except OSError as error:
        if error.errno not in FAULTS_OF_THE_PLACE:
            _show_traceback()
        else:
            advice = "; free some space" if error.errno in NO_ROOM else ""
            _show_line(f"{error.filename or 'a file'} cannot be read or written ({error.strerror}){advice}")
        code = EXIT_FAILURE
    except Exception:  # noqa: BLE001  the outermost frame: the traceback is shown and the exit code says so
        _show_traceback()
        code = EXIT_FAILURE
    sys.exit(code)


def _show_line(message: str) -> None:
    """The one line of an error: on standard error and in the log file, where a run has one."""
    sys.stderr.write(f"error: {message}\n")
    with contextlib.suppress(OSError):  # the disk that is full
        note_in_file(f"error: {message}")


def _show_traceback() -> None:
    logging.getLogger("mindvideo").error("failed:\n%s", traceback.format_exc())
    if not logging.getLogger("mindvideo").handlers:
        traceback.print_exc()
