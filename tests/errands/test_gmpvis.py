"""GMP-VIS on made-up videos: prepare and train as its toy configuration says, evaluate, draw the matches, infer.

Reduced: a few videos, a small network that runs step by step (compiling takes most of the time), one training step.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mindvideo.analysis.matches import is_match_record
from tests.errands.conftest import Errand
from tests.models.small_models import Sizes, small_overrides
from tests.printed_commands import TOOL, in_headers

DECIDED_BY_THE_DATA = ("data.num_classes", "inference.class_names")
REDUCED = [
    *(each for each in small_overrides("gmpvis", Sizes(T=4)) if not each.startswith(DECIDED_BY_THE_DATA)),
    *("runtime.mode=pynative", "data.workers=0", "data.batch_size=2"),
    *("inference.min_birth=0", "inference.min_life=0", "inference.confidence=0"),  # random weights are sure of nothing
]


@pytest.fixture
def user(tmp_path, monkeypatch, capsys) -> Errand:
    monkeypatch.chdir(tmp_path)
    return Errand(tmp_path, tmp_path / "run" / "last.ckpt", monkeypatch, capsys)


def test_from_an_empty_folder_to_a_picture_of_the_matches(user: Errand):
    prepare, train = (each.line.replace("DIR", "data") for each in in_headers() if each.place == "header of gmpvis_toy")
    assert [TOOL.search(line)[1] for line in (prepare, train)] == ["prepare", "train"]
    user.run("prepare", *prepare.split()[2:], "--train", "4", "--valid", "2", "--long", "1")
    user.run("train", *train.split()[2:], "--output", "run", "schedule.max_steps=1", *REDUCED)

    model = ("-c", "run/config.yaml", "--weights", user.weights)
    shown = user.run("eval", *model, "--output", "scored", "--analysis", "data.valid=synthetic_easy/late")
    assert "HOTA" in shown and json.loads(Path("scored/metrics.json").read_text())["videos"] == 1
    (record,) = Path("scored/analysis").glob("*.npz")
    assert is_match_record(record)
    with np.load(record) as matches:
        assert len(matches.files) > 1
    user.run("analyze", record, "--output", "drawn")
    with Image.open("drawn/matches.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("L")))) > 8, "nothing is drawn"

    user.run("infer", *model, "--input", "data/synthetic_easy/videos/late_00000.mp4", "--output", "found")
    assert json.loads(Path("found/late_00000/results.json").read_text())
    assert Path("found/late_00000/overlay.mp4").stat().st_size > 1000
