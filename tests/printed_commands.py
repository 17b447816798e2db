"""Every command that the project prints: in pages, in headers of configurations, in helps, in messages."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from mindvideo.cli import COMMANDS
from mindvideo.config import known_configs
from mindvideo.config.headers import read_header
from tests.test_layout import PROJECT

PAGES = ("README.md", "CONTRIBUTING.md", "docs/*.md", "datas/README.md", "custom_ops/README.md", "config/README.md")
# A line of a code block that begins so is a command; everything else there is output, a layout or a program.
PROGRAMS = ("mindvideo", "python", "python3", ".venv/bin/python", "make", "pytest", "msrun", "ffmpeg", "pip")
TOOL = re.compile(r"(?:tools/segmentation/|\$P |)(\w+)\.py")
_INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_QUOTED = re.compile(r"'(mindvideo [a-z][^']*)'")


@dataclasses.dataclass(frozen=True)
class Printed:
    """``words``: the command as a shell line; ``place``: where it stands."""

    place: str
    line: str


def pages() -> list[Path]:
    return [path for pattern in PAGES for path in sorted(PROJECT.glob(pattern))]


@functools.cache
def printed() -> list[Printed]:
    """Everywhere, each line once."""
    found = [*in_pages(), *in_headers(), *in_helps(), *in_messages()]
    return list({(each.place.partition(":")[0], each.line): each for each in found}.values())


def in_pages() -> Iterator[Printed]:
    for path in pages():
        text = path.read_text(encoding="utf-8")
        place = str(path.relative_to(PROJECT))
        blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        blocks += re.findall(r"(?:^|\n\n)((?: {4}\S.*\n)+)", text)
        for block in blocks:
            yield from (Printed(place, line) for line in command_lines(block))
        prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
        for words in _INLINE.findall(prose):
            line = " ".join(words.split())
            if line.split()[0] in PROGRAMS and len(line.split()) > 1 or TOOL.match(line) and " -" in line:
                yield Printed(place, line)


def command_lines(block: str) -> Iterator[str]:
    """The commands of a code block: continued lines are joined, comments left away, parts of a pipe or list apart."""
    prefix = dict(re.findall(r"^(\w)=(\S+)$", block, re.MULTILINE))
    for line in block.replace("\\\n", " ").splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        for name, value in prefix.items():
            line = line.replace(f"${name} ", f"{value} ")
        for part in re.split(r"\s(?:&&|\||;)\s", line):
            if part.split() and part.split()[0] in PROGRAMS:
                yield " ".join(part.split())


def in_headers() -> Iterator[Printed]:
    for name, path in known_configs().items():
        for part in re.split(r"(?=\bpython |\bmindvideo )", read_header(path)["Command"]):
            if part.strip():
                yield Printed(f"header of {name}", part.strip().rstrip(",;"))


def in_helps() -> Iterator[Printed]:
    """Examples in the epilogs and docstrings of the commands."""
    for name in COMMANDS:
        module = importlib.import_module(f"mindvideo.cli.{name}")
        text = f"{module.__doc__}\n{getattr(module, 'EXAMPLES', '')}"
        for line in text.splitlines():
            if line.strip().startswith("mindvideo ") and line.startswith("  "):
                yield Printed(f"help of {name}", re.split(r"\s{2,}|\s#", line.strip())[0])


def in_messages() -> Iterator[Printed]:
    """Commands in quotes, or printed after two blanks, in the strings of the package."""
    for path in sorted((PROJECT / "mindvideo").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parts = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, (ast.Constant, ast.JoinedStr)) and node not in parts:
                for line in _commands_in(_string_of(node)):
                    yield Printed(f"message of {path.relative_to(PROJECT)}", line)


def _string_of(node: ast.Constant | ast.JoinedStr) -> str:
    """With ``{...}`` where a value goes."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "".join(part.value if isinstance(part, ast.Constant) else "{...}" for part in node.values)


def _commands_in(string: str) -> list[str]:
    found = [" ".join(line.split()) for line in _QUOTED.findall(string)]
    if string.startswith("  mindvideo "):
        found.append(" ".join(string.split()))
    return found
