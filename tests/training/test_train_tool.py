"""The command line of train.py: mistakes are told in one line, before anything is built."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools" / "segmentation"


def train(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(TOOLS / "train.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **environment})


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["-c", "vistr_toy", "--resume"], {}, "--resume needs the folder of the run to go on with; --output is None"),
        (["-c", "vistr_toy", "--resume", "--output", "/nowhere/run"], {}, "--output is /nowhere/run"),
        (["-c", "vistr_toy"], {"MS_WORKER_NUM": "2"}, "several processes write into one run folder"),
        (["-c", "vistr_toy", "train.precison=fp16"], {}, "precision"),
        (["-c", "vistr_toy", "train.precision=fp8"], {}, "fp32"),
    ],
    ids=["no-folder", "wrong-folder", "ranks-without-output", "misspelt-key", "wrong-value"],
)
def test_mistakes_are_told_in_one_line(arguments, environment, message):
    result = train(*arguments, **environment)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("error: ")


def test_launch_says_how_it_is_used():
    result = subprocess.run(["bash", str(TOOLS / "launch.sh"), "-c", "vistr_toy"], capture_output=True, text=True)
    assert result.returncode == 2
    assert "usage: launch.sh PROCESSES [train|eval|infer] -c CONFIG" in result.stderr
