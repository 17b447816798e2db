"""The share of the package's six-line windows that stand somewhere else too; imports and blank lines do not count."""

from __future__ import annotations

import ast
import collections
from pathlib import Path

from tests.test_layout import PACKAGE, relative

WINDOW = 6
MAX_SHARE = 0.03


def plain_lines(source: str) -> list[tuple[int, str]]:
    """Line number and text, white space normalised, without imports, comments and blank lines."""
    left_out = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for line in range(node.lineno, node.end_lineno + 1)
    }
    lines = ((number, " ".join(line.split())) for number, line in enumerate(source.splitlines(), start=1))
    return [(number, line) for number, line in lines if line and number not in left_out and line[0] != "#"]


def windows(sources: dict[str, str]) -> dict[tuple[str, ...], list[str]]:
    """Every window with the places, ``file:line``, at which it stands."""
    places = collections.defaultdict(list)
    for name, source in sources.items():
        lines = plain_lines(source)
        for start in range(len(lines) - WINDOW + 1):
            window = tuple(line for _, line in lines[start : start + WINDOW])
            places[window].append(f"{name}:{lines[start][0]}")
    return places


def duplicated_share(sources: dict[str, str]) -> tuple[float, list[list[str]]]:
    """The share of windows that are not the only one of their kind, and where these stand."""
    groups = list(windows(sources).values())
    repeated = [group for group in groups if len(group) > 1]
    return sum(map(len, repeated)) / max(1, sum(map(len, groups))), repeated


def package_sources(folder: Path = PACKAGE) -> dict[str, str]:
    return {relative(path): path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))}


def test_a_copy_is_found():
    block = "\n".join(f"x{n} = {n}" for n in range(8))
    respaced = "import os\n\n" + block.replace(" = ", "  =  ")
    share, places = duplicated_share({"a.py": block, "b.py": respaced})
    assert share == 1
    assert places == [[f"a.py:{n}", f"b.py:{n + 2}"] for n in range(1, 4)]
    assert duplicated_share({"a.py": block})[0] == 0


def test_little_stands_twice():
    share, places = duplicated_share(package_sources())
    shown = "\n".join(" = ".join(group) for group in places)
    assert share < MAX_SHARE, f"{share:.1%} of all {WINDOW}-line windows stand twice:\n{shown}"


if __name__ == "__main__":
    share, places = duplicated_share(package_sources())
    for group in places:
        print(" = ".join(group))  # noqa: T201
    print(f"{share:.2%}")  # noqa: T201
