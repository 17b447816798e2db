"""One word for one thing: the package's names, docstrings and comments against the table of docs/shapes.md."""

from __future__ import annotations

import ast
import fnmatch
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tests.test_layout import PROJECT, relative, source_files

# Names of the standard library.
STANDARD = {"most_common"}
# Tables of old names, and names of other people's files.
HOLD_OLD_NAMES = ("mindvideo/config/renamed.py", "mindvideo/weights/renamed.py")


def refused_words() -> tuple[list[str], list[str]]:
    """Patterns of names (``most_*``), and regular expressions for prose."""
    names, prose = [], []
    for line in (PROJECT / "docs" / "shapes.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 3 or cells[2] in ("instead of", "---"):
            continue
        if cells[2].startswith("prose: "):
            word = cells[2].removeprefix("prose: ")
            prose.append(word if word.startswith("^") else rf"\b{word}\b")
        else:
            names += re.findall(r"`([\w*]+)`", cells[2])
    return names, prose


NAMES, PROSE = refused_words()


def names_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that the source gives or uses, with its line."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name", "asname"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield getattr(node, "lineno", 0), value


def prose_of(source: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Docstrings and comments, with their line."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")


def old_words(source: str) -> list[str]:
    """``line: word`` for every word of the source that the table replaces."""
    tree = ast.parse(source)
    found = []
    for line, name in names_of(tree):
        plain = name.strip("_")
        if plain not in STANDARD and any(fnmatch.fnmatchcase(plain, pattern) for pattern in NAMES):
            found.append(f"{line}: {name}")
    for line, text in prose_of(source, tree):
        plain = re.sub(r"``.*?``|`.*?`", "", text)
        found += [f"{line}: {match[0]!r} in prose" for word in PROSE for match in re.finditer(word, plain)]
    return found


def offenders() -> dict[str, list[str]]:
    words = {relative(path): old_words(path.read_text(encoding="utf-8")) for path in source_files()}
    words |= {
        relative(path): old_words(path.read_text(encoding="utf-8"))
        for folder in ("custom_ops", "benchmarks", "tools", "tests")
        for path in sorted((PROJECT / folder).rglob("*.py"))
        if path != Path(__file__) and "golden" not in path.parts
    }
    return {path: found for path, found in words.items() if found and path not in HOLD_OLD_NAMES}


def test_the_table_is_read():
    assert {"ffn_width", "located", "most_*", "least_*"} <= set(NAMES)
    assert r"\bbehind\b" in PROSE and "^What" in PROSE


def test_old_words_are_found():
    source = "class A:\n    def f(self, ffn_width): return self.most_frames"
    assert sorted(old_words(source)) == ["2: ffn_width", "2: most_frames"]
    assert old_words('"""What a file holds."""') == ["1: 'What' in prose"]
    assert old_words("x = 1  # the frame behind it, ``alone``") == ["1: 'behind' in prose"]
    assert old_words('"""A network whose hidden width is 20."""\nalmost_all = most_common = 1') == []


def test_one_word_for_one_thing():
    wrong = [f"{path}:{word}" for path, words in offenders().items() for word in words]
    assert not wrong, "docs/shapes.md has other words:\n" + "\n".join(wrong)
