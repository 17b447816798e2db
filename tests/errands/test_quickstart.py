"""docs/quickstart.ipynb, cell after cell, at reduced size: with other values in its first cell."""

from __future__ import annotations

import ast
import json
from pathlib import Path

from PIL import Image

from tests.errands.test_own_data import REDUCED
from tests.test_layout import PROJECT

NOTEBOOK = PROJECT / "docs" / "quickstart.ipynb"
SMALLER = {"--train 40 --valid 6": "--train 4 --valid 2"}  # data in the notebook -> here


def run_cell(source: str, names: dict) -> object:
    """The value of the last line, as a notebook shows it."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(NOTEBOOK), "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)


def test_every_cell_runs(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4 and all(not cell.get("outputs") for cell in notebook["cells"])
    names: dict = {"__name__": "__main__"}
    shown = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        if "parameters" in cell["metadata"].get("tags", ()):
            run_cell(source, names)
            assert {"STEPS", "FRAMES", "SETTINGS"} <= set(names)
            names.update(STEPS=1, FRAMES="0:6:2", SETTINGS=[*REDUCED, "inference.short_side=32"])
            continue
        for whole, small in SMALLER.items():
            source = source.replace(whole, small)
        shown.append(run_cell(source, names))
    assert [value for value in shown if isinstance(value, Image.Image)]
    printed = capsys.readouterr().out
    assert "trained 1 steps" in printed and "VideoResult(" in printed and "objects in all frames" in printed
    assert Path("overlay.mp4").is_file() and Path("runs/shapes-eval/report.html").is_file()
