"""docs/own_data.md from its first command to its last: label half, train, guess, correct, train again, evaluate.

Reduced: eight frames, a small network that runs step by step (compiling it would take most of the time), one step of
training. The person at CVAT is played by the labels of the whole clip.
"""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.data.cvat_clip import write_clip
from tests.models.small_models import Sizes, small_overrides
from tests.printed_commands import command_lines
from tests.test_layout import PROJECT

PAGE = PROJECT / "docs" / "own_data.md"
SURE = ["inference.min_birth=0", "inference.min_life=0", "inference.confidence=0"]  # random weights are sure of nothing
REDUCED = [
    *(each for each in small_overrides("instanceformer", Sizes()) if not each.startswith("data.num_classes")),
    *("runtime.mode=pynative", "data.workers=0", "data.batch_size=1", *SURE),
]


def section(heading: str | None) -> list[str]:
    """The commands of the first code block below a heading, or of the first one of the page that converts."""
    text = PAGE.read_text(encoding="utf-8")
    text = text if heading is None else text.partition(f"## {heading}")[2]
    block = next(part for part in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) if "convert cvat" in part)
    return list(command_lines(block))


@pytest.fixture
def run(tmp_path, monkeypatch):
    write_clip(tmp_path / "mine", num_frames=8)
    monkeypatch.chdir(tmp_path)

    def run_line(line: str) -> None:
        program, command, *words = shlex.split(line)
        assert program == "mindvideo"
        if command in ("train", "infer", "eval"):
            words += REDUCED
        if words[0] == "config":
            words += ["--steps", "1", "--short-side", "32"]
        monkeypatch.setattr(sys, "argv", [f"mindvideo {command}", *words])
        assert not importlib.import_module(f"mindvideo.cli.{command}").main(), line

    return run_line


def test_from_half_the_labels_to_figures(run, tmp_path: Path):
    before, after = section("Label with a model first"), section(None)
    assert [line.split()[1] for line in before] == ["prepare", "prepare", "train", "infer"]
    assert [line.split()[1] for line in after][-3:] == ["train", "infer", "eval"]
    for line in before:
        run(line)
    first = json.loads(Path("mine/first.json").read_text())
    assert len(first["videos"][0]["file_names"]) == 4
    # The guess covers the whole clip and can be read back.
    run("mindvideo prepare convert cvat guess/clip/cvat.xml --video mine/clip.mp4 --output mine/guess.json")
    guess = json.loads(Path("mine/guess.json").read_text())
    assert len(guess["videos"][0]["file_names"]) == 8 and guess["annotations"]
    for line in after:
        run(line)
    assert Path("out/clip/overlay.mp4").is_file() and Path("clips.html").is_file()
    metrics = json.loads(Path("runs/mine-eval/metrics.json").read_text())
    assert metrics and Path("runs/mine-eval/report.html").is_file()
