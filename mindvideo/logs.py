"""The messages of a run: one line per event, a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import logging.handlers
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

ROOT = "mindvideo"
Item = TypeVar("Item")
_HELD_LINES = 10_000
_FORMAT = "%(asctime)s %(levelname).1s %(name)s: %(message)s"


class _TerminalHandler(logging.StreamHandler):
    """Writes through tqdm, so that a line does not tear a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 video``, ``2 videos``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


class _LogFile(logging.FileHandler):
    """A disk that is full costs the lines of the log, which the terminal shows too; it is said once."""

    _failed = False

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the base class's name
        if not self._failed:
            self._failed = True
            sys.stderr.write(f"{self.baseFilename} cannot be written: {sys.exc_info()[1]}\n")


def set_up_logging(level: str = "info", log_file: Path | None = None, *, hold: bool = False) -> None:
    """Show mindvideo's lines on standard error and, when given, append them to ``log_file``.

    With ``hold`` the lines wait in memory for :func:`write_held`, since their file may never come to be.
    """
    logger = logging.getLogger(ROOT)
    logger.setLevel(level.upper())
    logger.propagate = False
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    handlers: list[logging.Handler] = [_TerminalHandler()]
    if log_file is not None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(_LogFile(log_file))
    elif hold:
        handlers.append(
            logging.handlers.MemoryHandler(_HELD_LINES, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
        )
    for handler in handlers:
        _add(logger, handler)


def write_held(log_file: Path) -> None:
    """Append the lines that were held to ``log_file``, and from now on every other."""
    logger = logging.getLogger(ROOT)
    held = [handler for handler in logger.handlers if isinstance(handler, logging.handlers.MemoryHandler)]
    for memory in held:
        file = _LogFile(log_file)
        _add(logger, file)
        memory.setTarget(file)
        memory.flush()
        logger.removeHandler(memory)
        memory.close()


def note_in_file(message: str) -> None:
    """Write a line that the user sees anyway into the log file only, where there is one."""
    logger = logging.getLogger(ROOT)
    record = logger.makeRecord(f"{ROOT}.run", logging.ERROR, __file__, 0, message, (), None)
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.emit(record)


def _add(logger: logging.Logger, handler: logging.Handler) -> None:
    handler.setFormatter(logging.Formatter(_FORMAT, datefmt="%H:%M:%S"))
    logger.addHandler(handler)


def progress(
    items: Iterable[Item], *, total: int | None, label: str, unit: str = "it", every_seconds: float = 10.0
) -> Iterator[Item]:
    """Iterate with a progress bar on a terminal, or with one plain line every few seconds elsewhere."""
    if sys.stderr.isatty():
        with tqdm(total=total, desc=label, unit=unit, dynamic_ncols=True, leave=False) as bar:
            for number, item in enumerate(items):
                yield item
                bar.update()
                if number == 0:  # it may have waited for a graph to compile: no rate from it
                    bar.initial, bar.start_t, bar.last_print_t = bar.n, time.time(), time.time()
        return
    logger = logging.getLogger(f"{ROOT}.progress")
    last = time.monotonic()
    done, first_done = 0, None
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        first_done = first_done or now  # the first item may have waited for a graph to compile: no rate from it
        if now - last < every_seconds:
            continue
        last = now
        pace = ""
        if done > 1:
            rate = (done - 1) / (now - first_done)
            pace = f", {rate:.3g} {unit}/s" + (f", {(total - done) / rate:.0f} s left" if total else "")
        logger.info("%s: %d%s %s%s", label, done, f"/{total}" if total else "", unit, pace)
