"""Tube AP against what the official evaluation gives, with both implementations of the overlap."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mindvideo.evaluation.evaluator import evaluate_results
from mindvideo.evaluation.ground_truth import read_ground_truth
from mindvideo.evaluation.results_json import ResultsFile
from mindvideo.masks import overlap as tube_overlap

TOLERANCE = 1e-9
EVAL = Path(__file__).resolve().parents[2] / "tools" / "segmentation" / "eval.py"


def cases(folder: Path) -> list[str]:
    names = sorted(path.name.removesuffix(".expected.json") for path in folder.glob("*.expected.json"))
    assert names, f"no cases in {folder}"
    return names


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", cases(Path(metafunc.config.getoption("--golden")) / "ytvis_eval"))


def assert_equal_to_official(metrics: dict, expected: dict) -> None:
    for name, value in expected["stats"].items():
        assert abs(metrics[name] - value) <= TOLERANCE, name
    assert set(metrics["per_category"]) == set(expected["per_category"])
    for category, figures in expected["per_category"].items():
        for name, value in figures.items():
            wanted = -1.0 if value is None else value
            assert abs(metrics["per_category"][category][name] - wanted) <= TOLERANCE, (category, name)


@pytest.mark.parametrize("details", [True, False], ids=["everything", "official figures alone"])
@pytest.mark.parametrize("implementation", ["compiled", "reference"])
def test_the_official_figures(golden, case, implementation, details, monkeypatch):
    if implementation == "reference":
        monkeypatch.setattr(tube_overlap, "native_overlap", lambda: None)
    elif tube_overlap.native_overlap() is None:
        pytest.skip("the native library is not built (python custom_ops/build.py)")
    folder = golden / "ytvis_eval"
    ground_truth = read_ground_truth(folder / f"{case}.gt.json.gz")
    results = ResultsFile(folder / f"{case}.dt.json.gz")
    expected = json.loads((folder / f"{case}.expected.json").read_text())
    metrics = evaluate_results(ground_truth, results, details=details).metrics()
    assert_equal_to_official(metrics, expected)
    if details:
        assert metrics["errors"]["AP50"] == pytest.approx(metrics["AP50"], abs=TOLERANCE)


def test_the_tool_writes_them(golden, tmp_path):
    folder = golden / "ytvis_eval"
    case = cases(folder)[0]
    command = [sys.executable, str(EVAL), "--results", str(folder / f"{case}.dt.json.gz"), "--no-report"]
    command += ["--annotations", str(folder / f"{case}.gt.json.gz"), "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = json.loads((folder / f"{case}.expected.json").read_text())
    assert_equal_to_official(json.loads((tmp_path / "metrics.json").read_text()), expected)
    assert f"{100 * expected['stats']['AP']:.1f}" in done.stdout
