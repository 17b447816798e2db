"""The names of the classes that a checkpoint is for, kept in the checkpoint itself."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mindvideo.errors import UserError

CLASS_NAMES_ENTRY = "class_names"  # key in the metadata of a checkpoint of ours


def class_names_entry(class_names: Mapping[int, str]) -> str:
    """The entry's content."""
    return json.dumps({str(number): name for number, name in class_names.items()}, ensure_ascii=False)


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
