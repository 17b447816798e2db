"""What a command that rewrites an annotation file needs of its entries; everything else in them is passed on unseen."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError

# What a value must be: the test, and the words for it.
Need = tuple[Callable[[Any], bool], str]
NUMBER: Need = (lambda value: type(value) is int, "a whole number")
IDENTITY: Need = (lambda value: type(value) in (int, str), "a number or a text")
TEXT: Need = (lambda value: isinstance(value, str) and bool(value), "a text")
TEXTS: Need = (
    lambda value: isinstance(value, list) and bool(value) and all(isinstance(text, str) and text for text in value),
    "a list of at least one text",
)


def require_entries(
    file: str | Path, content: Any, part: str, needs: Mapping[str, Need], *, layout: str
) -> list[dict[str, Any]]:
    """``content[part]``, a list whose entries have every key of ``needs``; refused at the first fault otherwise."""
    entries = content.get(part) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise UserError(f"{file}: no '{part}' list, so not a labelled {layout} annotation file")
    for position, entry in enumerate(entries):
        fault = _fault(entry, needs)
        if fault:
            raise UserError(f"{file}: {part}[{position}]: {fault}; list every problem with: prepare.py check")
    return entries


def _fault(entry: Any, needs: Mapping[str, Need]) -> str | None:
    if not isinstance(entry, dict):
        return f"{reprlib.repr(entry)} is no object with {', '.join(needs)}"
    missing = [key for key in needs if key not in entry]
    if missing:
        return f"no {', '.join(missing)}"
    for key, (fits, words) in needs.items():
        if not fits(entry[key]):
            return f"{key} is {reprlib.repr(entry[key])}; {words} is needed"
    return None
