"""The names of a run's classes in a file beside its records, so that drawings can say "dog" where a record says 3."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mindvideo.errors import UserError
from mindvideo.files import write_json

CLASSES = "classes.json"


def write_class_names(folder: str | Path, class_names: Mapping[int, str]) -> None:
    """``classes.json``: category id -> name."""
    write_json(Path(folder) / CLASSES, {str(number): name for number, name in class_names.items()})


def read_class_names(folder: str | Path) -> dict[int, str]:
    """The names that :func:`write_class_names` wrote; none where there is no such file."""
    file = Path(folder) / CLASSES
    if not file.is_file():
        return {}
    try:
        return {int(number): str(name) for number, name in json.loads(file.read_text(encoding="utf-8")).items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{file}: not a list of class names ({error})") from error
