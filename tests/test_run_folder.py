"""The folder of a run: checked before it is made, whole when it is, and one line where the disk is full."""

from __future__ import annotations

import logging
import os
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mindvideo import run_folder
from mindvideo.errors import UserError
from mindvideo.processes import own_command
from mindvideo.run_folder import RunFolder

PROJECT = Path(__file__).resolve().parents[1]
BEGIN = """
from pathlib import Path
from mindvideo.cli.arguments import run_tool
from mindvideo.run_folder import RunFolder
def main():
    folder = RunFolder.plan(output="run", name="x")
    folder.begin(config_file=Path("given.yaml"), resolved_config="a: 1\\n" * 1000)
run_tool(main)
"""


@pytest.mark.parametrize(
    ("first", "started"),
    [
        ("mindvideo train", ["-m", "mindvideo", "train"]),
        ("a b/train.py", ["a b/train.py"]),
    ],
)
def test_the_command_that_is_written_down_can_be_run(first, started):
    """However the program was started, a shell takes the line apart to the same words."""
    words = ["-c", "vistr_toy", "--output", "my run", "data.buckets=[[64, 96]]"]
    assert shlex.split(own_command([first, *words])) == [sys.executable, *started, *words]


def test_a_planned_folder_is_not_there_and_its_log_is_complete_once_it_is(tmp_path):
    given = tmp_path / "given.yaml"
    given.write_text("a: 1\n")
    path = tmp_path / "runs" / "one"
    folder = RunFolder.plan(output=path, name="x")
    logging.getLogger("mindvideo.test").info("before")
    assert not path.parent.exists()
    folder.begin(config_file=given, resolved_config="a: 1\n", weights=None)
    logging.getLogger("mindvideo.test").info("after")
    log = (path / "log.txt").read_text()
    assert "before" in log and "after" in log and log.count("before") == 1
    assert {entry.name for entry in path.iterdir()} == {
        "log.txt", "config.yaml", "config.given.yaml", "environment.json",
    }  # fmt: skip


def test_a_folder_that_may_not_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder.os, "access", lambda *_: False)
    with pytest.raises(UserError, match="no permission to write"):
        RunFolder.plan(output=tmp_path, name="x")
    with pytest.raises(UserError, match="no permission to write"):
        RunFolder.plan(output=tmp_path / "new", name="x")


def test_a_full_disk_at_the_start_is_told_in_plain_lines(tmp_path):
    """A limit on the size of files stands for the disk."""
    (tmp_path / "given.yaml").write_text("a: 1\n" * 50)
    done = subprocess.run(
        [sys.executable, "-c", BEGIN],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20)),
    )
    assert done.returncode == 1
    assert "cannot be read or written (File too large); free some space" in done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("\n") <= 4
