"""Measures every table of docs/performance.md again and writes it there: ``make bench``, ``make bench BENCH=--full``.

    python -m benchmarks.every                     every table, with few repetitions
    python -m benchmarks.every --full              with the repetitions and sizes that the documentation should have
    python -m benchmarks.every --only ops videomt  these tables only

A table stands between its two marks and says when, where and beside what load it was measured. A machine that does
other work gives figures that nobody can compare: the run refuses to begin on one, measures once more what was
disturbed, and leaves a table as it was when it is disturbed again.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.machine import Load, processor
from benchmarks.rows import read_remarks, read_rows
from benchmarks.tables import TABLES, Table
from mindvideo.files import write_text

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
MAX_LOAD = 0.05  # share of the machine's cores that others may take
LOOK = 3.0  # seconds of looking before the first run


class DisturbedError(Exception):
    """Others worked beside a measurement."""


def measure(table: Table, *, full: bool) -> tuple[list[dict[str, str]], list[str], float]:
    """The rows of a table, the script's remarks on them, and the load beside; raises DisturbedError with the load."""
    load = Load()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.csv"
        for options in table.full if full else table.quick:
            command = [sys.executable, "-m", f"benchmarks.{table.script}", *shlex.split(options), "--csv", str(file)]
            print("$ python " + " ".join(command[1:-2]), flush=True)
            subprocess.run(command, cwd=ROOT, check=True)
        rows, remarks = read_rows(file), read_remarks(file)
    beside = load.of_others()
    if beside > MAX_LOAD:
        raise DisturbedError(f"others took {beside:.0%} of the machine (at most {MAX_LOAD:.0%})")
    return rows, remarks, beside


def markdown(columns: Mapping[str, str], rows: Sequence[Mapping[str, str]]) -> str:
    """A table with these headings; figures to the right."""
    lines = ["| " + " | ".join(columns) + " |"]
    numeric = [all(_is_number(row.get(name, "")) for row in rows) for name in columns.values()]
    lines.append("|" + "".join("---:|" if right else "---|" for right in numeric))
    lines += ["| " + " | ".join(row.get(name, "") for name in columns.values()) + " |" for row in rows]
    return "\n".join(lines)


def _is_number(text: str) -> bool:
    try:
        float(text.removesuffix(" %") or "0")
    except ValueError:
        return False
    return True


def put(page: str, name: str, content: str) -> str:
    """``page`` with ``content`` between the marks of the table ``name``."""
    first, last = f"<!-- table {name} -->\n", "<!-- end of table -->"
    before, mark, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not mark or not end:
        raise SystemExit(f"{PAGE.name} has no marks for the table {name}: {first.strip()} ... {last}")
    return before + first + content + "\n" + last + after


def caption(table: Table, *, full: bool, load: float, remarks: Sequence[str] = ()) -> str:
    options = table.full if full else table.quick
    commands = " and ".join(f"`python -m benchmarks.{' '.join([table.script, each]).strip()}`" for each in options)
    today = datetime.date.today().isoformat()
    machine = [] if any(processor() in remark for remark in remarks) else [processor()]
    facts = "; ".join([today, *remarks, *machine, f"{load:.0%} of the machine taken by others"])
    return f"{commands}: {facts}.\n"


def renew(table: Table, *, full: bool) -> bool:
    """Measure a table and write it; False where it was disturbed twice and stays as it was."""
    for attempt in ("again", "no more"):
        try:
            rows, remarks, load = measure(table, full=full)
        except DisturbedError as disturbed:
            print(f"{table.name}: {disturbed}; {'measured once more' if attempt == 'again' else 'left as it was'}")
            continue
        content = caption(table, full=full, load=load, remarks=remarks) + "\n" + markdown(table.columns, rows)
        page = put(PAGE.read_text(encoding="utf-8"), table.name, content)
        write_text(PAGE, page)
        return True
    return False


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="all repetitions and sizes")
    parser.add_argument("--only", nargs="+", choices=sorted(TABLES), default=list(TABLES), metavar="TABLE")
    given = parser.parse_args(arguments)
    load = Load()
    time.sleep(LOOK)
    beside = load.of_others()
    if beside > MAX_LOAD:
        print(
            f"others take {beside:.0%} of this machine, figures need {MAX_LOAD:.0%} or less: stop them and "
            "begin again (nothing was written)",
            file=sys.stderr,
        )
        return 1
    disturbed = [name for name in given.only if not renew(TABLES[name], full=given.full)]
    if disturbed:
        print(f"left as they were, because others disturbed them: {', '.join(disturbed)}", file=sys.stderr)
    return int(bool(disturbed))


if __name__ == "__main__":
    sys.exit(main())
