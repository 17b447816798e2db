"""`mindvideo demo` without its minutes: which commands it gives, and that the configuration takes their settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mindvideo import load_config
from mindvideo.cli import demo


@pytest.fixture
def given(tmp_path, monkeypatch) -> list[list[str]]:
    """The commands that `run_demo` gives, without `mindvideo`; none of them is run."""
    commands: list[list[str]] = []

    def note(command: list[str]) -> subprocess.CompletedProcess:
        commands.append(command[3:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(demo.subprocess, "run", note)
    return commands


def run_demo(folder: Path, monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["mindvideo demo", "--output", str(folder), *arguments])
    assert demo.main() == 0


def settings_of(command: list[str]) -> list[str]:
    return [word for word in command if "=" in word]


def test_the_demo_makes_data_trains_infers_and_evaluates(given, tmp_path, monkeypatch):
    run_demo(tmp_path, monkeypatch)
    assert [command[0] for command in given] == ["prepare", "train", "infer", "eval"]
    assert not any("--resume" in command for command in given)


def test_the_short_training_has_its_own_settings(given, tmp_path, monkeypatch):
    run_demo(tmp_path, monkeypatch)
    short = load_config(demo.CONFIG, settings_of(given[1]))
    usual = load_config(demo.CONFIG)
    assert short["schedule"]["max_steps"] == demo.STEPS
    for part in ("learning_rate", "backbone_learning_rate"):
        assert short["optimizer"][part] > usual["optimizer"][part]
    assert short["loss"]["class_weight"] > usual["loss"]["class_weight"]
    assert 0 < short["data"]["pasted_share"] < usual["data"]["pasted_share"]


def test_an_interrupted_training_goes_on_with_the_same_settings(given, tmp_path, monkeypatch):
    run_demo(tmp_path, monkeypatch)
    (tmp_path / "train" / "checkpoints").mkdir(parents=True)
    run_demo(tmp_path, monkeypatch)
    first, second = (command for command in given if command[0] == "train")
    assert "--resume" in second and settings_of(second) == settings_of(first)


def test_another_configuration_trains_as_it_says(given, tmp_path, monkeypatch):
    run_demo(tmp_path, monkeypatch, "--config", "vistr_toy", "--steps", "7")
    names = {word.partition("=")[0] for word in settings_of(given[1])}
    assert names == {"data.root", "schedule.max_steps"}
