"""The names of the classes that a checkpoint is for, kept in the checkpoint itself."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mindvideo.errors import UserError

CLASS_NAMES_ENTRY = "class_names"  # key in the metadata of a checkpoint of ours


def class_names_entry(class_names: Mapping[int, str]) -> str:
    """The entry's content."""
    return json.dumps({str(number): name for number, name in class_names.items()}, ensure_ascii=False)


def same_class_name(one: str, other: str) -> bool:
    """Whether two spellings are of one name."""
    return _plain(one) == _plain(other)


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def first_renamed(before: Mapping[int, str], now: Mapping[int, str]) -> tuple[int, str, str] | None:
    """The first (id, name before, name now) of the ids in both that has another name now."""
    for number in sorted(set(before) & set(now)):
        if not same_class_name(before[number], now[number]):
            return number, before[number], now[number]
    return None


def parse_class_names(content: str | None) -> dict[int, str] | None:
    """The other way; UserError for an entry that holds something else."""
    if content is None:
        return None
    try:
        entries = json.loads(content)
        if all(isinstance(name, str) and name.isprintable() for name in entries.values()):
            return {int(number): name for number, name in entries.items()}
    except (ValueError, AttributeError, RecursionError):
        pass  # refused below, together with JSON of another kind
    raise UserError(f"the file is damaged: its entry '{CLASS_NAMES_ENTRY}' is no list of names by category id")
