"""Who reads which key: found in the source, so that a key that nothing reads cannot stay.

A reader takes a key as ``<section>.<key>`` where the object is called like the section (``cfg.vistr.num_frames``, or
``vistr = cfg.vistr`` and then ``vistr.num_frames``). What several sections share is read from an object called
``section``, which counts for each of them that has such a key.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from mindvideo.config.schema import Schema
from mindvideo.resources import PACKAGE

PROJECT = PACKAGE.parent
SHARED = "section"
# The only places that may see a configuration.
READER_PLACES = ("mindvideo/models", "mindvideo/assembly", "mindvideo/cli")


def reader_files(project: Path = PROJECT) -> list[Path]:
    files: list[Path] = []
    for place in READER_PLACES:
        path = project / place
        files += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return files


def find_readers(schema: Schema, project: Path = PROJECT) -> dict[str, list[str]]:
    """``section.key`` -> the places ``file:line`` that read it. Anything attribute-shaped counts; callers filter."""
    readers: dict[str, list[str]] = defaultdict(list)
    for path in reader_files(project):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Attribute):
                continue
            owner = node.value
            section = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", None)
            if section is not None:
                readers[f"{section}.{node.attr}"].append(f"{path.relative_to(project)}:{node.lineno}")
    for section, keys in schema.sections.items():
        for name in keys:
            if shared := readers.get(f"{SHARED}.{name}"):
                readers[f"{section}.{name}"] += shared
    return {name: sorted(set(places)) for name, places in readers.items()}
