"""Weights & Biases: a stand-in gets the records of a run; the package itself, where it is installed, offline."""

from __future__ import annotations

import math
import sys
import types

import pytest

from mindvideo.errors import UserError
from mindvideo.run_folder import RunFolder
from mindvideo.training.callbacks.step_log import StepLog
from mindvideo.training.wandb_run import WandbRun, require_wandb


class StandIn(types.ModuleType):
    def __init__(self) -> None:
        super().__init__("wandb")
        self.begun: dict[str, object] = {}
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished = 0

    def init(self, **facts):
        self.begun = facts
        return self

    def log(self, values, *, step):
        self.logged.append((step, values))

    def finish(self):
        self.finished += 1


def test_records_reach_it_under_the_same_names(tmp_path, monkeypatch):
    package = StandIn()
    monkeypatch.setitem(sys.modules, "wandb", package)
    folder = RunFolder(tmp_path / "my_run")
    folder.make()
    log = StepLog(folder=folder, every=1)
    log.also = WandbRun(folder.path, project="videos", name="vistr_toy")
    log.record(3, "train", {"loss": 1.5, "gradient_norm": math.nan})
    log.record(4, "evaluation", {"AP": 0.25})
    log.close()
    assert package.logged == [(3, {"train/loss": 1.5}), (4, {"evaluation/AP": 0.25})] and package.finished == 1
    assert package.begun["project"] == "videos" and package.begun["id"] == "my_run"
    assert package.begun["resume"] == "allow" and package.begun["dir"] == str(folder.path)


def test_without_the_package_one_line_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="train.wandb needs a package that is not installed: pip install wandb"):
        require_wandb()


def test_offline_with_the_package_itself(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the package wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = WandbRun(tmp_path, project="videos", name="vistr_toy")
    run.scalars(1, {"train/loss": 2.0})
    run.scalars(2, {"train/loss": 1.0})
    run.close()
    [kept] = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert kept.stat().st_size > 0
