"""tests/run.py on made-up test files: one that passes, fails, is killed, never ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import run
from tests.runner import jobs as planning
from tests.runner.events import piece_of
from tests.runner.processes import ProcessGroup, running_processes

RUN = Path(run.__file__)
PASSES = """
import pytest
def test_good(): pass
@pytest.mark.skip(reason="not today")
def test_left_out(): pass
"""
FAILS = "def test_bad():\n    assert 'oranges' == 'apples'\n"
IS_KILLED = """
import os
def test_before(): pass
def test_that_dies(): os.kill(os.getpid(), 9)
def test_after(): pass
"""
SLEEPS = """
import subprocess, time
def test_that_sleeps():
    subprocess.Popen(["sleep", "300"], start_new_session=True)
    time.sleep(300)
"""


def start(folder: Path, files: dict[str, str], *arguments: str) -> subprocess.Popen:
    folder = folder / "parity"  # a folder of heavy files: each has its own process
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    command = [sys.executable, str(RUN), *(str(folder / name) for name in files), *arguments]
    environment = {**os.environ, "PYTEST_ADDOPTS": "-p no:cacheprovider"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def outcome(process: subprocess.Popen) -> tuple[int, str]:
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def sleepers() -> set[int]:
    found = set()
    for pid in running_processes():
        try:
            if Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x00300\x00":
                found.add(pid)
        except OSError:
            continue
    return found


def test_counts_stand_alone_in_the_last_line(tmp_path):
    code, output = outcome(start(tmp_path, {"test_a.py": PASSES, "test_b.py": FAILS}))
    assert code == 1
    assert output.splitlines()[-1] == "1 passed, 1 failed, 1 skipped"
    assert "'oranges' == 'apples'" in output
    peak = float(re.search(r"peak memory of all processes together: ([\d.]+) GB", output)[1])
    assert 0.01 < peak < 2


def test_success_has_exit_code_0_and_selecting_nothing_5(tmp_path):
    assert outcome(start(tmp_path, {"test_a.py": PASSES}))[0] == 0
    code, output = outcome(start(tmp_path, {"test_a.py": PASSES}, "-k", "nowhere"))
    assert code == 5 and "no test was selected" in output


def test_arguments_select_tests(tmp_path):
    code, output = outcome(start(tmp_path, {"test_a.py": PASSES, "test_b.py": FAILS}, "-k", "good"))
    assert code == 0
    assert output.splitlines()[-1] == "1 passed, 0 failed, 0 skipped"


def test_a_file_that_cannot_be_imported_fails(tmp_path):
    code, output = outcome(start(tmp_path, {"test_a.py": "import nowhere_to_be_found\n"}))
    assert code == 1
    assert output.splitlines()[-1] == "0 passed, 1 failed, 0 skipped"


def test_a_process_that_dies_ends_the_run_and_is_named(tmp_path):
    began = time.monotonic()
    files = {"test_dies.py": IS_KILLED, "test_sleeps.py": SLEEPS, "test_waits.py": PASSES}
    code, output = outcome(start(tmp_path, files, "--grace", "1"))
    assert code == 1
    assert time.monotonic() - began < 40
    [broken] = [line for line in output.splitlines() if line.startswith("BROKEN") and "SIGKILL" in line][:1]
    assert "test_dies.py" in broken and broken.endswith("test_dies.py::test_that_dies ran")
    assert "1 jobs did not start" in output


def test_the_other_jobs_run_when_asked_to(tmp_path):
    code, output = outcome(start(tmp_path, {"test_a.py": IS_KILLED, "test_b.py": PASSES}, "--keep-going", "--jobs=1"))
    assert code == 1
    assert output.splitlines()[-1] == "2 passed, 1 failed, 1 skipped"


def test_a_job_that_is_silent_is_ended_with_all_that_it_started(tmp_path):
    before = sleepers()
    code, output = outcome(start(tmp_path, {"test_sleeps.py": SLEEPS}, "--stall", "4"))
    assert code == 1
    assert "nothing was heard for 4.0 s, while" in output and "::test_that_sleeps ran" in output
    assert sleepers() <= before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_ends_the_whole_group(tmp_path, number):
    before = sleepers()
    process = start(tmp_path, {"test_sleeps.py": SLEEPS})
    limit = time.monotonic() + 30
    while not sleepers() - before and time.monotonic() < limit:
        time.sleep(0.1)
    assert sleepers() - before
    process.send_signal(number)
    code, output = outcome(process)
    assert code == 130
    assert "interrupted: " in output and "::test_that_sleeps" in output
    assert sleepers() <= before


def test_memory_of_processes_in_other_sessions_counts():
    child = "held = b'x' * 80 * 2**20; input()"
    parent = f"import subprocess, sys; subprocess.call([sys.executable, '-c', {child!r}], start_new_session=True)"
    leader = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, start_new_session=True)
    group = ProcessGroup(leader.pid)
    try:
        limit = time.monotonic() + 20
        while group.update(running_processes()) < 80 and time.monotonic() < limit:
            time.sleep(0.1)
        assert group.update(running_processes()) > 80
        assert len(group.members) == 2
    finally:
        group.end()
        leader.wait()
    assert group.update(running_processes()) == 0


def test_files_share_processes_by_what_they_need():
    weights = {
        "heavy.py": {"mb": 2900, "seconds": 100},
        "cut.py": {"mb": 2000, "seconds": 90, "pieces": 3},
        **{f"light{n}.py": {"mb": 600, "seconds": 4} for n in range(20)},
    }
    jobs = planning.plan_jobs([*weights, "tests/parity/new.py"], weights)
    assert jobs[0].targets == ["heavy.py"]
    assert [(job.number, job.pieces) for job in jobs if job.targets == ["cut.py"]] == [(0, 3), (1, 3), (2, 3)]
    assert ["tests/parity/new.py"] in [job.targets for job in jobs]
    light = [job for job in jobs if job.targets[0].startswith("light")]
    assert sorted(name for job in light for name in job.targets) == sorted(name for name in weights if "light" in name)
    assert 2 <= len(light) <= 5
    assert all(job.mb <= planning.GROUP_MB and job.seconds <= planning.GROUP_SECONDS for job in light)


def test_jobs_start_only_when_they_fit():
    jobs = [planning.Job(["a"], 4000, 9), planning.Job(["b"], 3000, 8), planning.Job(["c"], 1000, 7)]
    assert planning.next_job(jobs, [], 6000).targets == ["a"]
    assert planning.next_job(jobs, [4000], 6000).targets == ["c"]
    assert planning.next_job(jobs, [4000], 6000) is None
    assert planning.next_job(jobs, [2500], 6000).targets == ["b"]
    assert planning.next_job([planning.Job(["x"], 9000, 1)], [], 6000).targets == ["x"]  # by itself, or never


@pytest.mark.parametrize(("pieces", "count"), [(4, 4), (12, 12), (["_1", "2"], 3)])
def test_pieces_are_every_test_once(pieces, count):
    names = [f"test_{n}" for n in range(10)]
    kept = [piece_of(names, number, pieces) for number in range(count)]
    assert [sum(of_test) for of_test in zip(*kept)] == [1] * len(names)
    if isinstance(pieces, list):
        assert [name for name, keep in zip(names, kept[0]) if keep] == ["test_1"]


def test_a_process_runs_its_piece(tmp_path):
    (tmp_path / "test_ten.py").write_text("\n".join(f"def test_{n}(): pass" for n in range(10)))
    events = tmp_path / "events"
    environment = {**os.environ, "MINDVIDEO_TEST_EVENTS": str(events), "MINDVIDEO_TEST_PIECE": "[1, 4]"}
    command = [sys.executable, "-m", "pytest", "-p", "tests.runner.events", str(tmp_path / "test_ten.py")]
    subprocess.run(command, cwd=run.PROJECT, env=environment, check=True, capture_output=True)
    names = [json.loads(line)["test"] for line in events.read_text().splitlines() if '"end"' in line]
    assert [name.partition("::")[2] for name in names] == ["test_3", "test_4"]


def test_the_table_knows_only_files_that_exist():
    missing = [file for file in planning.read_weights() if not (run.PROJECT / file).exists()]
    assert not missing, f"take them out of {planning.WEIGHTS.name}: {missing}"
