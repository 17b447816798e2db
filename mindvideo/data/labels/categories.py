"""The categories of a set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindvideo.data.labels.forms import CATEGORY_FORM, form_problems
from mindvideo.data.labels.reading import read_json
from mindvideo.errors import UserError


@dataclasses.dataclass(frozen=True)
class Category:
    id: int
    name: str


def read_category_file(path: Path) -> tuple[Category, ...]:
    """The categories of an annotation file, or of a file that is only their list (``datas/categories``)."""
    content = read_json(path)
    if isinstance(content, list):
        content = {"categories": content}
    if not isinstance(content, dict):
        raise UserError(f"{path}: neither an annotation file nor a list of categories")
    for problem in form_problems(content, {"categories": CATEGORY_FORM}):
        raise UserError(f"{path}: {problem.where}: {problem.message}")
    return read_categories(content)


def read_categories(content: Mapping[str, Any]) -> tuple[Category, ...]:
    """The categories of an annotation file whose form has been checked."""
    return tuple(Category(entry["id"], entry["name"]) for entry in content.get("categories") or ())
