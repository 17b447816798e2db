"""What the command-line tools share: their common arguments and their exit codes."""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import sys
import traceback
from collections.abc import Callable

from mindvideo.errors import UserError
from mindvideo.files import NO_ROOM
from mindvideo.logs import note_in_file

EXIT_OK, EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

# What is wrong with a disk or a folder, not with the program.
FAULTS_OF_THE_PLACE = (*NO_ROOM, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.EIO)

CONFIG_EPILOG = """\
A configuration is a bare name (vistr finds config/vistr/vistr.yaml from any folder) or a path to a YAML file.
Trailing SECTION.KEY=VALUE arguments override it, for instance:  optimizer.learning_rate=5e-5 data.workers=4
'mindvideo config --list' lists the configurations; '--explain SECTION.KEY' tells what a key means.
Exit codes: 0 done, 1 something of ours failed, 2 a mistake in what was given, 130 interrupted.
"""


def config_parser(description: str, *, config_required: bool = True) -> argparse.ArgumentParser:
    """A parser with ``-c``, ``--weights``, ``--output`` and the overrides; tools add their own flags."""
    parser = argparse.ArgumentParser(
        description=description, epilog=CONFIG_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-c", "--config", required=config_required, metavar="NAME", help="configuration: name or file")
    parser.add_argument("--weights", metavar="FILE", help="weights: .ckpt, or a published .pth, .pt or .safetensors")
    parser.add_argument("--output", metavar="DIR", help="folder for everything written (default: runs/<time>-<name>)")
    parser.add_argument("overrides", nargs="*", metavar="SECTION.KEY=VALUE", help="changes to the configuration")
    return parser


def run_tool(main: Callable[[], int | None]) -> None:
    """Run a tool's ``main`` and leave the process with the right code; a mistake of the caller shows no traceback."""
    try:
        code = main() or EXIT_OK
    except UserError as error:
        _tell(str(error))
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
            _tell(f"{error.filename or 'a file'} cannot be read or written ({error.strerror}){advice}")
        code = EXIT_FAILURE
    except Exception:  # noqa: BLE001  the outermost frame: the traceback is shown and the exit code says so
        _show_traceback()
        code = EXIT_FAILURE
    sys.exit(code)


def _tell(message: str) -> None:
    """The one line of an error: on standard error and in the log file, where a run has one."""
    sys.stderr.write(f"error: {message}\n")
    with contextlib.suppress(OSError):  # the full disk that is told of
        note_in_file(f"error: {message}")


def _show_traceback() -> None:
    logging.getLogger("mindvideo").error("failed:\n%s", traceback.format_exc())
    if not logging.getLogger("mindvideo").handlers:
        traceback.print_exc()
