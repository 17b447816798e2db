"""Prints the rooms and arrows of tests/test_layout.py into docs/map.md: ``python -m tests.write_map``."""

from __future__ import annotations

import re

from mindvideo.files import write_text
from tests.test_layout import DATA_ROOMS_MAY_IMPORT, FOUNDATIONS, MAY_IMPORT, PACKAGE, PROJECT, ROOMS

MAP = PROJECT / "docs" / "map.md"


def printed_parts() -> dict[str, str]:
    """The parts of docs/map.md that are printed from the tables, by their name."""
    rooms = [f"| `mindvideo/{room}{'/' if (PACKAGE / room).is_dir() else '.py'}` | {ROOMS[room]} |" for room in ROOMS]
    arrows = []
    for room, allowed in MAY_IMPORT.items():
        shared = bool(allowed) and allowed >= FOUNDATIONS
        names = sorted(allowed - FOUNDATIONS if shared else allowed or ())
        right = "everything" if allowed is None else ", ".join(names + ["foundations"] * shared) or "nothing"
        arrows.append(f"{room:<15}-> {right}")
    data = [
        f"{room:<15}-> {', '.join(sorted(allowed)) or 'nothing'}" for room, allowed in DATA_ROOMS_MAY_IMPORT.items()
    ]
    return {
        "rooms": "\n".join(["| room | what it is |", "|---|---|", *rooms]),
        "arrows": "\n".join(["```", *arrows, "```"]),
        "foundations": ", ".join(f"`{name}`" for name in sorted(FOUNDATIONS)),
        "arrows of data": "\n".join(["```", *data, "```"]),
    }


def printed_map(text: str) -> str:
    """docs/map.md with the printed parts as they have to be: between ``<!-- name -->`` and ``<!-- / -->``."""
    for name, part in printed_parts().items():
        pattern = re.compile(rf"(<!-- {re.escape(name)} -->)(\s).*?(<!-- / -->)", re.DOTALL)
        assert pattern.search(text), f"docs/map.md has no part <!-- {name} -->"
        text = pattern.sub(lambda match, part=part: f"{match[1]}{match[2]}{part}{match[2]}{match[3]}", text)
    return text


if __name__ == "__main__":
    write_text(MAP, printed_map(MAP.read_text(encoding="utf-8")))
