"""`make bench`: tables that are measured and written by a command, and not on a machine that does other work."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import every
from benchmarks.machine import Load
from benchmarks.tables import TABLES, Table

ROOT = Path(__file__).resolve().parents[1]


def test_every_table_has_its_place_in_the_page_and_every_place_its_table():
    assert sorted(re.findall(r"<!-- table (\w+) -->", every.PAGE.read_text(encoding="utf-8"))) == sorted(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_scripts_know_the_options_and_the_columns_of_their_tables(name):
    table = TABLES[name]
    source = (ROOT / "benchmarks" / f"{table.script}.py").read_text(encoding="utf-8")
    options = {word for line in (*table.quick, *table.full) for word in shlex.split(line) if word.startswith("-")}
    assert all(f'"{option}"' in source for option in {*options, "--csv"})
    # Names of columns are written out in the script, but for those that are put together of two parts.
    parts = [
        part for column in table.columns.values() for part in ([column] if column in source else column.split("_"))
    ]
    assert all(part in source for part in parts)


def test_every_script_starts_as_it_is_printed_in_a_plain_environment():
    """From the project's root with nothing but what `make` installs; reading the help imports all of the script."""
    scripts = [file.stem for file in sorted((ROOT / "benchmarks").glob("*.py")) if "__main__" in file.read_text()]
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import runpy, sys\nfor name in sys.argv[1:]:\n    sys.argv = [name, '--help']\n"
    code += "    try:\n        runpy.run_module('benchmarks.' + name, run_name='__main__')\n"
    code += "    except SystemExit as ended:\n        assert not ended.code, name\n"
    needs_pytorch = {"norms_pytorch"}
    command = [sys.executable, "-c", code, *(name for name in scripts if name not in needs_pytorch)]
    done = subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage:") == len(scripts) - len(needs_pytorch) > 15


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A project of one page and one script that notes that it ran."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "count.py").write_text(
        "import pathlib, sys\n"
        "file = pathlib.Path(sys.argv[-1])\n"
        "fresh = not file.exists()\n"
        "with file.open('a') as out:\n"
        "    out.write(('# counted by hand\\nwhat,seconds\\n' if fresh else '') + sys.argv[1] + ',0.5\\n')\n"
    )
    page = tmp_path / "performance.md"
    page.write_text(
        "above\n<!-- table count -->\nold\n<!-- end of table -->\nbelow\n<!-- table b -->\n<!-- end of table -->\n"
    )
    table = Table("count", "count", ["one"], ["one", "two"], {"what": "what", "s": "seconds"})
    monkeypatch.setattr(every, "ROOT", tmp_path)
    monkeypatch.setattr(every, "PAGE", page)
    monkeypatch.setattr(every, "TABLES", {"count": table})
    monkeypatch.setattr(every, "LOOK", 0.0)
    return page


def loads(monkeypatch, shares: list[float]) -> None:
    """The share that others take, look after look."""
    monkeypatch.setattr(every.Load, "of_others", lambda self: shares.pop(0))


def test_a_table_is_written_between_its_marks(page, monkeypatch):
    loads(monkeypatch, [0.0, 0.01])
    assert every.main(["--full"]) == 0
    written = page.read_text()
    assert written.startswith("above\n<!-- table count -->\n`python -m benchmarks.count one` and ")
    assert "| what | s |\n|---|---:|\n| one | 0.5 |\n| two | 0.5 |\n<!-- end of table -->\nbelow\n" in written
    assert "; counted by hand; " in written and "; 1% of the machine taken by others.\n" in written
    assert "old" not in written


def test_nothing_is_measured_on_a_busy_machine(page, monkeypatch, capsys):
    before = page.read_text()
    loads(monkeypatch, [0.4])
    assert every.main([]) == 1
    assert page.read_text() == before
    assert "others take 40% of this machine" in capsys.readouterr().err


@pytest.mark.parametrize(("shares", "code"), [([0.0, 0.3, 0.0], 0), ([0.0, 0.3, 0.2], 1)])
def test_a_disturbed_table_is_measured_once_more_and_then_left(page, monkeypatch, capsys, shares, code):
    before = page.read_text()
    loads(monkeypatch, list(shares))
    assert every.main([]) == code
    assert (page.read_text() == before) == bool(code)
    assert ("left as they were, because others disturbed them: count" in capsys.readouterr().err) == bool(code)


def test_the_load_of_others_leaves_out_what_this_process_took(tmp_path, monkeypatch):
    stat = tmp_path / "stat"
    stat.write_text("cpu 1000 0 0 5000 0 0 0 0 0 0\n")
    monkeypatch.setattr(Load, "_own_seconds", lambda self: self.seconds)
    monkeypatch.setattr(Load, "seconds", 0.0, raising=False)
    load = Load(stat)
    stat.write_text("cpu 1100 0 0 5100 0 0 0 0 0 0\n")  # of 200 ticks 100 worked, 60 of them here
    monkeypatch.setattr(Load, "seconds", 0.6)
    monkeypatch.setattr("os.sysconf", lambda name: 100)
    assert load.of_others() == pytest.approx(0.2)


def test_a_page_without_marks_says_so():
    with pytest.raises(SystemExit, match="no marks for the table ops"):
        every.put("a page", "ops", "")
