"""Several runs on one page."""

from __future__ import annotations

import json
import re

import pytest

from mindvideo.cli import report as tool
from mindvideo.errors import UserError
from mindvideo.files import write_json
from tests.report import made_up_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two evaluated and trained runs; the second found nothing of class 1, and was given another learning rate."""
    folder = tmp_path_factory.mktemp("runs")
    annotations, _ = made_up_run.write_set(folder / "set")
    metrics = made_up_run.evaluate_set(annotations)[0].metrics()
    worse = json.loads(json.dumps(metrics))
    worse["AP"] = metrics["AP"] - 0.125
    worse["per_category"]["1"]["AP"] = 0.0
    for name, figures, rate in (("first", metrics, 0.1), ("second", worse, 0.2)):
        write_json(folder / name / "metrics.json", figures)
        write_json(folder / name / "evaluated.json", {"annotations": str(annotations), "results": "x.json"})
        write_json(folder / name / "environment.json", {"command": f"mindvideo eval --output {name}"})
        (folder / name / "config.yaml").write_text(f"name: toy\noptimizer: {{learning_rate: {rate}, clip_norm: 1}}\n")
        records = made_up_run.training_records(70)
        (folder / name / "metrics.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in records))
    return folder


def compare(monkeypatch, *words: str) -> None:
    monkeypatch.setattr("sys.argv", ["report", *words])
    assert tool.main() == 0


def test_figures_classes_curves_and_settings_stand_side_by_side(runs, tmp_path, monkeypatch):
    compare(monkeypatch, str(runs / "first"), str(runs / "second"), "--output", str(tmp_path / "c.html"))
    page = (tmp_path / "c.html").read_text()
    ap = json.loads((runs / "first" / "metrics.json").read_text())["AP"]
    row = re.search(r"<tr><th>AP</th>(.*?)</tr>", page)[1]
    assert f"<b>{100 * ap:.1f}</b>" in row and "−12.5" in row
    (first_class, *_) = re.findall(r"<tr><th>(\w+)</th>", page[page.index('id="classes"') :])
    assert first_class == made_up_run_name(runs)  # the class that differs most
    assert page.count("<polyline") == 4  # loss and AP of two runs
    settings = page[page.index('id="settings"') :]
    assert "optimizer.learning_rate" in settings and "clip_norm" not in settings
    assert "mindvideo eval --output second" in page and "cannot be compared" not in page
    assert "http://" not in page and "https://" not in page


def made_up_run_name(runs) -> str:
    return json.loads((runs / "first" / "metrics.json").read_text())["per_category"]["1"]["name"]


def test_runs_of_different_sets_are_marked(runs, tmp_path, monkeypatch):
    other = tmp_path / "other"
    write_json(other / "metrics.json", {**json.loads((runs / "first" / "metrics.json").read_text()), "videos": 3})
    monkeypatch.chdir(tmp_path)
    compare(monkeypatch, str(runs / "first"), str(other))
    assert "cannot be compared" in (tmp_path / "comparison.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["first", "nowhere"], "no such folder"),
        (["first", "set"], "neither metrics.json of mindvideo eval nor metrics.jsonl"),
        (["first", "damaged"], "not JSON"),
        (["first"] * 7, "at most 6"),
        (["first", "--output", "x.html"], "--output is for several runs"),
    ],
)
def test_what_cannot_be_compared_is_refused(runs, words, said, monkeypatch):
    monkeypatch.chdir(runs)
    (runs / "damaged").mkdir(exist_ok=True)
    (runs / "damaged" / "metrics.json").write_text("{")
    monkeypatch.setattr("sys.argv", ["report", *words])
    with pytest.raises(UserError, match=said):
        tool.main()
