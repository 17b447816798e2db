"""All objections to a run are found before anything is written; what it knows of its classes goes with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mindvideo import load_config
from mindvideo.assembly.data import build_training_data
from mindvideo.assembly.training import schedule_of
from mindvideo.data.synthetic.files import write_split
from mindvideo.data.synthetic.videos import RECIPES
from mindvideo.errors import UserError
from mindvideo.report.training_curves import read_records
from mindvideo.training.callbacks.step_log import forget_metrics_after
from mindvideo.training.checkpoint import save_weights
from mindvideo.weights.checkpoint_file import class_names_of
from mindvideo.weights.class_names import same_class_name as same_name

PROJECT = Path(__file__).resolve().parents[2]
SMALL = ["data.workers=0", "data.batch_size=2", "schedule.max_steps=1"]


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sets")
    for split, count in (("train", 4), ("valid", 2)):
        for _ in write_split(root / "synthetic_easy", RECIPES["easy"], split=split, num_videos=count, seed=0):
            pass
    return root


def train(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mindvideo", "train", "-c", "vistr_toy", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, env=environment)


def refused(done: subprocess.CompletedProcess, message: str) -> None:
    assert done.returncode == 2, done.stderr[-2000:]
    assert message in done.stderr and "Traceback" not in done.stderr


def test_a_refused_start_changes_nothing_of_a_run_and_is_in_its_log(tmp_path, sets):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "step_00000001.state").write_bytes(b"")
    kept = {"config.yaml": "kept", "environment.json": "{}", "config.given.yaml": "kept", "log.txt": "first line\n"}
    for name, content in kept.items():
        (run / name).write_text(content)
    refused(train(tmp_path, "--output", "run", f"data.root={sets}", *SMALL), "holds a run already: add --resume")
    log = (run / "log.txt").read_text()
    assert log.startswith("first line\n") and "error: run/checkpoints holds a run already" in log
    for name in ("config.yaml", "environment.json", "config.given.yaml"):
        assert (run / name).read_text() == kept[name]


def test_a_failed_start_leaves_no_folder(tmp_path):
    refused(train(tmp_path, "--output", "run", "data.root=nowhere", *SMALL), "no annotation file")
    refused(train(tmp_path, "data.root=nowhere", *SMALL), "no annotation file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("a.txt/x", "is not a folder"),
        ("x" * 300, "no folder can have this name"),
        ("a.txt", "a file of that name exists"),
    ],
)
def test_an_impossible_output_is_told_in_one_line(tmp_path, output, message):
    (tmp_path / "a.txt").write_text("here")
    done = train(tmp_path, "--output", output)
    refused(done, message)
    assert done.stderr.count("\n") == 1


def test_a_category_beyond_the_outputs_is_refused(sets, tmp_path):
    annotations = sets / "synthetic_easy" / "annotations" / "instances_train.json"
    content = json.loads(annotations.read_text())
    content["annotations"][0]["category_id"] = 8
    content["categories"].append({"id": 8, "name": "boat"})
    odd = tmp_path / "odd.json"
    odd.write_text(json.dumps(content))
    frames = sets / "synthetic_easy" / "train" / "JPEGImages"
    cfg = load_config("vistr_toy", [f"data.train=['{odd}@{frames}']", *SMALL])
    with pytest.raises(
        UserError, match=r"labels of category 8, and the model has outputs 0 to 4; set data.num_classes=9"
    ):
        build_training_data(cfg)


def test_a_validation_over_videos_that_are_trained_on_is_refused(sets):
    root = [f"data.root={sets}", *SMALL]
    with pytest.raises(UserError, match=r"data.valid \(synthetic_easy/train\) and data.train .* share 4 of 4 videos"):
        build_training_data(load_config("vistr_toy", [*root, "train.evaluate=true", "data.valid=synthetic_easy/train"]))
    build_training_data(load_config("vistr_toy", [*root, "data.valid=synthetic_easy/train"]))
    data = build_training_data(load_config("vistr_toy", [*root, "train.evaluate=true"]))
    assert data.class_names == {1: "disc", 2: "square", 3: "triangle", 4: "cross"}


def test_no_training_set_is_told(sets):
    with pytest.raises(UserError, match="data.train is empty: name a set"):
        build_training_data(load_config("vistr_toy", [f"data.root={sets}", "data.train=[]"]))


def test_class_names_travel_with_the_weights(tmp_path):
    path = tmp_path / "last.ckpt"
    names = {1: "disc", 2: "square", 3: "giant_panda", 4: "cross"}
    save_weights(path, {"a": np.zeros(2, np.float32)}, class_names=names)
    assert class_names_of(path) == names
    assert same_name("giant_panda", "Giant Panda") and not same_name("panda", "giant panda")


def test_a_warm_up_that_outlasts_the_run_is_told(caplog, monkeypatch):
    monkeypatch.setattr("logging.Logger.propagate", True, raising=False)
    cfg = load_config("vistr_toy", ["schedule.max_steps=10", "schedule.warmup_steps=200"])
    with caplog.at_level("WARNING"):
        assert schedule_of(cfg, 50).max() < 0.1
    assert "schedule.warmup_steps is 200 and the run has 10 steps" in caplog.text


def test_metrics_that_are_no_text_do_not_stop_a_resumed_run(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "loss": 2}\n\xff\xfe broken \xe9\n[1]\n{"step": "x"}\n{"step": 9}\n')
    assert [record["step"] for record in read_records(tmp_path)] == [1, 9]
    forget_metrics_after(path, 5)
    assert path.read_text() == '{"step": 1, "loss": 2}\n'


def test_loss_terms_come_from_the_imported_file(tmp_path, sets):
    code = "from mindvideo.modules.losses.own import loss_term\n\n\n@loss_term()\ndef nothing(m):\n    return 0\n"
    (tmp_path / "mine.py").write_text(code)
    given = ["--output", "run", f"data.root={sets}", "loss.own_terms=[another=1]", *SMALL]
    refused(train(tmp_path, "--import", "mine.py", *given), "asks for another, registered are: nothing; name the file")
    assert not (tmp_path / "run").exists()
