"""A hook of mkdocs: where a page names another one as this repository does, `docs/training.md`, the site links it."""

from __future__ import annotations

import re
from typing import Any

_NAMED = re.compile(r"`docs/(\w+\.(?:md|ipynb))`")
_BLOCK = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Called for each page; code blocks stay as they are."""
    del kwargs  # page, config and files
    parts = _BLOCK.split(markdown)
    return "".join(part if part.startswith("```") else _NAMED.sub(r"[\1](\1)", part) for part in parts)
