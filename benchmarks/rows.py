"""Rows of figures in CSV files."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path


def append_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Add ``rows``, all with the same columns, to the file; a new one begins with their names."""
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        if fresh:
            writer.writeheader()
        writer.writerows(rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a file with a header; lines that begin with # are remarks."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def read_remarks(path: Path) -> list[str]:
    """The lines that begin with #, without it."""
    with path.open(newline="", encoding="utf-8") as file:
        return [line[1:].strip() for line in file if line.startswith("#")]
