"""The pages name what exists, and the map is what the layout test checks."""

from __future__ import annotations

import re

import pytest

from tests.test_layout import PROJECT
from tests.write_map import MAP, printed_map

EXAMPLE = "dotvis"  # the family that docs/adding_a_family.md adds
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_path_in_the_documents_exists(path):
    text = path.read_text(encoding="utf-8")
    mentioned = re.findall(r"`((?:mindvideo|tools|config|datas|custom_ops|docs|benchmarks|tests)/[\w./-]*)`", text)
    missing = [name for name in mentioned if not (PROJECT / name).exists() and EXAMPLE not in name.split("/")]
    assert not missing, f"{path.name} names what does not exist: {missing}"


def test_the_map_is_printed_from_the_tables():
    text = MAP.read_text(encoding="utf-8")
    assert text == printed_map(text), "docs/map.md is not current: python -m tests.write_map"


def test_a_map_that_is_not_current_is_noticed():
    text = MAP.read_text(encoding="utf-8")
    outdated = text.replace("errors, native_library", "errors, models")
    assert printed_map(outdated) == printed_map(text) != outdated
