"""A signal ends a run within ten seconds in every phase, and a second one at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HOST = Path(__file__).with_name("signal_host.py")
PROJECT = Path(__file__).resolve().parents[2]
# name -> (phase, signals, seconds that it may take after the last)
CASES = {
    "data workers start": ("data", [signal.SIGTERM], 10),
    "a graph compiles": ("compile", [signal.SIGTERM], 10),
    "a checkpoint is written": ("write", [signal.SIGINT], 10),
    "an evaluation runs": ("evaluate", [signal.SIGTERM], 10),
    "twice while a graph compiles": ("compile", [signal.SIGINT, signal.SIGINT], 3),
}


def test_a_run_ends_within_ten_seconds_whatever_it_does(tmp_path):
    """All cases side by side, since most of the time is waiting."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    running = {}
    for number, (case, (phase, _, _)) in enumerate(CASES.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        command = [sys.executable, str(HOST), phase, str(folder)]
        running[case] = folder, subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while not all((folder / "stuck").exists() for folder, _ in running.values()):
        assert time.monotonic() < end, "a host did not reach its phase"
        time.sleep(0.1)
    time.sleep(0.5)
    deadlines = {}
    for case, (_, process) in running.items():
        _, signals, seconds = CASES[case]
        for position, number in enumerate(signals):
            time.sleep(0.8 if position else 0.0)
            process.send_signal(number)
        deadlines[case] = time.monotonic() + seconds
    for case, (folder, process) in sorted(running.items(), key=lambda entry: deadlines[entry[0]]):
        code = process.wait(timeout=max(0.1, deadlines[case] - time.monotonic()) + 0.5)
        # An evaluation can be left in the middle and the run then ends by itself, with what it has done.
        assert code == 0 if case == "an evaluation runs" else code in (130, -signal.SIGKILL), (
            f"{case}: exit code {code}"
        )
        assert "--resume" in process.stderr.read() + (folder / "log.txt").read_text(), case
        states = sorted(path.name for path in folder.glob("checkpoints/step_*.state"))
        assert states == (["step_00000002.state", "step_00000003.state"] if case == "an evaluation runs" else []), case
