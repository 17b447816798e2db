"""``train.recompute=true`` as docs/training.md has it: the same run in less memory.

Reduced: a small network on a few made-up videos, two steps; the run it is compared with goes operator by operator.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.errands.conftest import Errand
from tests.models.small_models import Sizes, small_overrides

LESS_MEMORY = "train.recompute=true"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"
SIZES = ("data.num_frames=2", "videomt.num_blocks=2", "videomt.query_blocks=1")
REDUCED = [each for each in small_overrides("videomt", Sizes()) if not each.startswith(("data.", "inference."))]
RUN = (
    "-c",
    "videomt_toy",
    "data.root=data",
    "data.workers=0",
    "data.batch_size=2",
    "train.log_every=1",
    *REDUCED,
    *SIZES,
)


@pytest.fixture
def user(tmp_path, monkeypatch, capsys) -> Errand:
    monkeypatch.chdir(tmp_path)
    return Errand(tmp_path, tmp_path / "run" / "last.ckpt", monkeypatch, capsys)


def records_of(run: str) -> dict[int, dict]:
    records = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]
    return {record["step"]: record for record in records if record["kind"] == "train"}


def test_a_run_in_less_memory_is_the_same_run(user: Errand):
    assert f"`{LESS_MEMORY}`" in PAGE.read_text(encoding="utf-8")
    user.run("prepare", "synthetic", "--output", "data/synthetic_easy", "--train", "4", "--valid", "1")
    user.run("train", *RUN, "--output", "plain", "schedule.max_steps=2", "runtime.mode=pynative")
    user.run("train", *RUN, "--output", "less", "schedule.max_steps=2", LESS_MEMORY)
    plain, less = records_of("plain"), records_of("less")
    assert sorted(plain) == sorted(less) == [1, 2]
    for step, record in plain.items():
        for name in ("loss", "gradient_norm"):
            np.testing.assert_allclose(less[step][name], record[name], rtol=1e-4, err_msg=f"{name} of step {step}")
    assert plain[1]["loss"] != plain[2]["loss"]
    user.run("infer", "data/synthetic_easy/valid/JPEGImages", "-c", "less/config.yaml", "--weights", "less/last.ckpt")
