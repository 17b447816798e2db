"""The header comment of each configuration file, and the table of all of them in ``config/README.md``."""

from __future__ import annotations

from pathlib import Path

import yaml

from mindvideo.config.load import config_folder, known_configs
from mindvideo.errors import UserError

# Every header has these, as `# Field: words`; the words may go on in following lines that start with `#   `.
HEADER_FIELDS = ("What", "Command", "Hardware", "Duration", "Expected", "Source")

_INTRODUCTION = """\
# Configurations

This file is made from the headers of the YAML files: `mindvideo config --write-readme` writes it anew, and a
test fails when it is not current. "published" marks a figure that we did not produce ourselves.

A file can be named from anywhere by its bare name (`mindvideo train -c vistr`), and your own file can build on one the
same way (`_base_: vistr`). `_base_` files are merged first, in order; `section.key=value` on the command line wins over
everything. `mindvideo config --explain section.key` tells what a key means, what it may be and who reads it. A key that
the chosen family does not read is refused; `section.key=null` takes back one that a base sets.

A published recipe trains on all labels of its set, without validation. With `train.evaluate=true` it is validated on
`SET/split_valid` and trains on `SET/split_train` in place of `SET/train` (`mindvideo prepare split` makes both).
"""


def read_header(path: Path) -> dict[str, str]:
    """Field -> text of the comment that opens a configuration file."""
    fields: dict[str, str] = {}
    current = None
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line[1:].strip()
        name, colon, rest = text.partition(":")
        if colon and name in HEADER_FIELDS:
            current = name
            fields[current] = rest.strip()
        elif current is not None and text:
            fields[current] += " " + text
    missing = [name for name in HEADER_FIELDS if not fields.get(name)]
    if missing:
        raise UserError(f"{path}: the header comment lacks {', '.join(missing)} (each as '# Field: text')")
    return fields


def _bases(path: Path) -> str:
    bases = yaml.safe_load(path.read_text(encoding="utf-8")).get("_base_", [])
    return ", ".join(f"`{base}`" for base in ([bases] if isinstance(bases, str) else bases)) or "none"


def config_readme() -> str:
    """The text of ``config/README.md``."""
    parts = [_INTRODUCTION]
    family = None
    for path in sorted(known_configs().values(), key=lambda path: (path.parent.name, path.stem)):
        if path.parent.name != family:
            family = path.parent.name
            parts.append(f"\n## {family}\n")
        header = read_header(path)
        parts.append(f"### `{path.relative_to(config_folder())}`\n")
        parts.append(f"{header['What']}\n")
        parts += [f"- **{field}**: {header[field]}" for field in HEADER_FIELDS[1:]]
        parts.append(f"- **Built on**: {_bases(path)}\n")
    return "\n".join(parts).rstrip() + "\n"
