"""SIGKILL at 20 random moments, in the middle of writes too, changes no bit of what a run comes to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from mindvideo.training.state_file import read_state

HOST = Path(__file__).with_name("kill_host.py")
KILLS = 20


def test_a_run_killed_20_times_ends_with_the_same_bits(tmp_path):
    host = subprocess.run(
        [sys.executable, str(HOST), str(tmp_path), str(KILLS), "7"], capture_output=True, text=True, timeout=600
    )
    assert host.returncode == 0, host.stderr[-3000:]
    result = json.loads(host.stdout.splitlines()[-1])
    moments = result["moments"]
    assert result["codes"] == [0, 0]
    assert len(moments) == KILLS
    assert all(moment["killed"] for moment in moments)
    steps = [moment["step"] for moment in moments]
    assert steps == sorted(steps)
    assert len(set(steps)) > KILLS / 2, "the kills fell on too few different steps"
    assert any(moment["half_written"] for moment in moments), "no kill fell into a write"

    whole, killed = (np.load(tmp_path / name / "final.npz") for name in ("whole", "killed"))
    assert set(whole.files) == set(killed.files)
    assert [name for name in whole.files if whole[name].tobytes() != killed[name].tobytes()] == []
    states = [sorted((tmp_path / name / "checkpoints").iterdir()) for name in ("whole", "killed")]
    assert [path.name for path in states[0]] == [path.name for path in states[1]]
    assert read_state(states[0][-1])[1] == read_state(states[1][-1])[1]
