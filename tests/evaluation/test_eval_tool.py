"""eval.py on result files: what it writes, and how it answers mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.evaluation import scenes

EVAL = Path(__file__).resolve().parents[2] / "tools" / "segmentation" / "eval.py"


@pytest.fixture
def files(tmp_path):
    annotations, results = tmp_path / "annotations.json", tmp_path / "results.json"
    annotations.write_text(json.dumps(scenes.annotations()))
    results.write_text(json.dumps(scenes.noisy(4)))
    return results, annotations


def run(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(EVAL), *map(str, arguments)], capture_output=True, text=True)


def test_a_file_from_any_source(files, tmp_path):
    results, annotations = files
    output = tmp_path / "run"
    options = ("--output", output, "--long-videos", "8")
    done = run("--results", results, "--annotations", annotations, *options)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((output / "metrics.json").read_text())
    assert 0 < metrics["AP"] < metrics["AP50"] <= 1
    assert metrics["long_videos"]["AP"] == metrics["AP"]
    assert metrics["speed"]["peak_memory_megabytes"] > 0
    for text in ("single frames", "swapped identity", "long videos", "square"):
        assert text in done.stdout
    assert (output / "report.html").stat().st_size > 10_000
    assert "mindspore" not in done.stderr.lower()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to evaluate"),
        (("--results", "x.json"), "--results needs --annotations"),
        (("-c", "vistr", "--results", "x.json", "--annotations", "y.json"), "not both"),
        (("-c", "vistr"), "--weights is missing"),
        (("--results", "x.json", "--annotations", "none.json"), "no annotation file none.json"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, message, tmp_path):
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_short_track_is_refused(files, tmp_path):
    results, annotations = files
    records = scenes.perfect()
    records[2]["segmentations"] = records[2]["segmentations"][:5]
    results.write_text(json.dumps(records))
    done = run("--results", results, "--annotations", annotations, "--output", tmp_path / "run")
    assert done.returncode == 2
    assert "video 7, track 0" in done.stderr and "frame 5: missing" in done.stderr
    assert not (tmp_path / "run" / "metrics.json").exists()
