"""eval.py runs a model over a labelled set, keeps what is finished, and does not mix the results of two weights.

The model runs operator by operator, which is not the point here.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import mindspore as ms
import pytest

from mindvideo import load_config
from mindvideo.assembly import build_network
from mindvideo.training.checkpoint import save_weights
from mindvideo.weights.checkpoint_file import open_checkpoint
from mindvideo.weights.loading import weights_of
from tests.command import run_here
from tests.report import made_up_run

CONFIG = "vistr_toy"
SMALL = ("vistr.width=24", "vistr.hidden=32", "vistr.encoder_layers=1", "vistr.decoder_layers=1")
DIRECT = "runtime.mode=pynative"


@pytest.fixture(autouse=True)
def _mode_as_it_was():
    before = ms.get_context("mode")
    yield
    ms.set_context(mode=before)


def evaluate(output: Path, weights: Path, data: str, *extra: str) -> subprocess.CompletedProcess:
    model = ("-c", CONFIG, "--weights", weights, "--output", output)
    return run_here("eval", *model, *extra, f"data.valid={data}", *SMALL, DIRECT)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    annotations, frames = made_up_run.write_set(tmp_path_factory.mktemp("set"), num_videos=3, num_frames=5)
    return f"{annotations}@{frames}"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    paths = [folder / "one.ckpt", folder / "two.ckpt"]
    for seed, path in enumerate(paths):
        ms.set_seed(seed)
        network = build_network(load_config(CONFIG, SMALL))
        save_weights(path, {name: value.asnumpy() for name, value in weights_of(network).items()})
    return paths


def test_a_model_is_evaluated_and_resumed(data, weights, tmp_path):
    output = tmp_path / "run"
    first = evaluate(output, weights[0], data, "evaluation.max_videos=2")
    assert first.returncode == 0, first.stderr
    assert json.loads((output / "metrics.json").read_text())["videos"] == 2
    records = {path.parent.name: path for path in (output / "videos").glob("*/run.json")}
    assert set(records) == {"1", "2"}
    kept = {name: path.stat().st_mtime_ns for name, path in records.items()}
    again = evaluate(output, weights[0], data)
    assert again.returncode == 0, again.stderr
    assert "2 of 3 videos are finished" in again.stderr
    assert {name: path.stat().st_mtime_ns for name, path in records.items()} == kept
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["videos"] == 3 and metrics["speed"]["videos_run"] == 1 and 0 <= metrics["AP"] <= 1
    gathered = json.loads((output / "results.json").read_text())
    assert {record["video_id"] for record in gathered} <= {1, 2, 3} and gathered
    assert (output / "report.html").is_file()
    other = evaluate(output, weights[1], data)
    assert other.returncode == 2
    assert "run with other settings (weights" in other.stderr
    assert json.loads((output / "results.json").read_text()) == gathered


def test_a_set_of_other_classes_is_refused(data, weights, tmp_path):
    named = tmp_path / "named.ckpt"
    values = {name: stored.numpy() for name, stored in open_checkpoint(weights[0]).tensors.items()}
    save_weights(named, values, class_names={1: "frog", 2: "toad"})
    refused = evaluate(tmp_path / "run", named, data)
    assert refused.returncode == 2 and not (tmp_path / "run").exists()
    assert "class 1 is " in refused.stderr and "'frog'" in refused.stderr and "--any-classes" in refused.stderr
    assert refused.stderr.count("\n") == 1
    told = evaluate(tmp_path / "run", named, data, "--any-classes", "evaluation.max_videos=1")
    assert told.returncode == 0, told.stderr
