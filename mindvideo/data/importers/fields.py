"""Reads the fields of label files. A field that is missing or of the wrong kind raises ValueError with the reason."""

from __future__ import annotations

import contextlib
import math
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError, printable


@contextlib.contextmanager
def naming(where: str | Path) -> Iterator[None]:
    """Puts the file and entry in front of a ValueError's reason: one line for the user."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{where}: {printable(error)}") from error


def entries(content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The list of dictionaries under ``key``."""
    listed = content.get(key)
    if not isinstance(listed, list):
        raise _wrong(listed, key, "a list of entries")
    for position, entry in enumerate(listed):
        dictionary(entry, f"{key}[{position}]")
    return listed


def dictionary(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(value, name, "an entry of names and values, {...},")
    return value


def string(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _wrong(value, name, "a string")
    return value


def whole(value: Any, name: str, *, minimum: int = 0) -> int:
    if not _is_whole(value) or value < minimum:
        raise _wrong(value, name, f"a whole number of at least {minimum}")
    return int(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer() or isinstance(value, int) and not isinstance(value, bool)


def identifier(value: Any, name: str) -> str | int:
    if not _is_whole(value) and not isinstance(value, str):
        raise _wrong(value, name, "a whole number or a string")
    return value


def number_in(written: str | None, name: str) -> float:
    """The number that a string stands for."""
    try:
        number = float(written or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _wrong(written, name, "a number")
    return number


def whole_in(written: str | None, name: str, *, minimum: int = 0) -> int:
    number = number_in(written, name)
    if not number.is_integer() or number < minimum:
        raise _wrong(written, name, f"a whole number of at least {minimum}")
    return int(number)


def _wrong(value: Any, name: str, needed: str) -> ValueError:
    return ValueError(f"'{name}' is {'missing' if value is None else reprlib.repr(value)}; {needed} is needed")
