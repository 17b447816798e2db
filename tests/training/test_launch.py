"""Several processes on one machine: the right interpreter, a free port, and an end in order. msrun is a stand-in here.

The stand-in does what msrun does as far as it matters: it starts the script with the `python` of the PATH, each
process in a session of its own, and waits. The one real run is the last test.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mindvideo.cli import launch
from mindvideo.errors import UserError
from mindvideo.processes import children_of

PROJECT = Path(__file__).resolve().parents[2]
LAUNCH = PROJECT / "tools" / "segmentation" / "launch.sh"
STAND_IN = f"""#!{sys.executable}
import os, subprocess, sys
options = [argument for argument in sys.argv[1:] if argument.startswith("--")]
script = next(argument for argument in sys.argv[1:] if argument.endswith(".py"))
count = int(options[0].split("=")[1])
open("msrun.txt", "w").write(" ".join(options) + " " + str(os.getpid()))
shown = subprocess.run(["python", "-c", "import sys; print(sys.executable)"], capture_output=True, text=True).stdout
open("python.txt", "w").write(shown.strip())
os.environ.update(MS_ROLE="MS_WORKER", MS_WORKER_NUM=str(count))
workers = [subprocess.Popen(["python", "worker.py", str(n)], preexec_fn=os.setsid) for n in range(count)]
sys.exit(max(worker.wait() for worker in workers))
"""
WORKER = """
import os, signal, sys, time
from mindvideo.processes import end_with_parent
def end(number, _):
    open(f"saved{sys.argv[1]}.txt", "w").write(signal.Signals(number).name)
    sys.exit(0)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, end)
end_with_parent()
open(f"ready{sys.argv[1]}.txt", "w").write(str(os.getpid()))
time.sleep(60)
sys.exit(1)
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    msrun = tmp_path / "msrun"
    msrun.write_text(STAND_IN)
    msrun.chmod(0o755)
    (tmp_path / "worker.py").write_text(WORKER)
    return tmp_path


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    given = {name: value for name, value in os.environ.items() if not name.startswith(("MS_", "PORT"))}
    given |= {
        "PYTHON": sys.executable,
        "PYTHONPATH": str(PROJECT),
        "MSRUN": str(folder / "msrun"),
        "PATH": "/usr/bin:/bin",
    }
    command = ["bash", str(LAUNCH), "2", "-c", "vistr_toy", "--output", "run", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=given | environment, text=True, stderr=subprocess.PIPE, start_new_session=True
    )


def wait_until(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def both(folder: Path, name: str) -> bool:
    return all((folder / f"{name}{n}.txt").is_file() and (folder / f"{name}{n}.txt").read_text() for n in range(2))


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_ctrl_c_to_the_group_lets_every_process_save(folder):
    launcher = start(folder)
    wait_until(lambda: both(folder, "ready"))
    os.killpg(launcher.pid, signal.SIGINT)
    assert launcher.wait(timeout=20) == 130
    assert [(folder / f"saved{n}.txt").read_text() for n in range(2)] == ["SIGTERM", "SIGTERM"]
    # no environment was activated: `python` was not on the PATH, yet the processes had this interpreter
    assert os.path.samefile((folder / "python.txt").read_text(), sys.executable)
    assert "--worker_num=2" in (folder / "msrun.txt").read_text()


def test_twice_ends_at_once_and_leaves_nothing_behind(folder):
    (folder / "worker.py").write_text(WORKER.replace("sys.exit(0)", "return"))
    launcher = start(folder)
    wait_until(lambda: both(folder, "ready"))
    pids = [int((folder / f"ready{n}.txt").read_text()) for n in range(2)]
    os.killpg(launcher.pid, signal.SIGINT)
    time.sleep(0.8)
    os.killpg(launcher.pid, signal.SIGINT)
    assert launcher.wait(timeout=10) == 130
    wait_until(lambda: not any(map(is_running, pids)), 5)


@pytest.mark.parametrize("victim", ["launcher", "msrun"])
def test_no_orphan_trains_on(folder, victim):
    launcher = start(folder)
    wait_until(lambda: both(folder, "ready"))
    msrun = int((folder / "msrun.txt").read_text().split()[-1])
    pids = [int((folder / f"ready{n}.txt").read_text()) for n in range(2)]
    assert sorted(pids) == children_of(msrun)
    os.kill(launcher.pid if victim == "launcher" else msrun, signal.SIGKILL if victim == "launcher" else signal.SIGTERM)
    wait_until(lambda: not any(map(is_running, [msrun, *pids])), 20)
    assert both(folder, "saved"), "they were ended without being asked to save"
    launcher.wait(timeout=10)


def test_a_port_in_use_is_told(folder):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        launcher = start(folder, PORT=port)
        assert launcher.wait(timeout=20) == 2
        assert f"error: --port {port} (or PORT) is in use" in launcher.stderr.read()
    assert not (folder / "msrun.txt").exists()


def test_mistakes_are_told_once_and_before_anything_starts(folder):
    launcher = start(folder, "train.precison=fp16")
    assert launcher.wait(timeout=30) == 2
    message = launcher.stderr.read()
    assert message.count("did you mean 'precision'?") == 1 and "Traceback" not in message
    assert not (folder / "msrun.txt").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["eval"], "nothing to evaluate: give -c and --weights"),
        (["eval", "-c", "vistr_toy", "--weights", "w.ckpt"], "several processes write into one run folder"),
        (["infer", "-c", "vistr_toy", "--output", "out", "--redraw"], "--redraw is done by one process"),
        (["eval", "--results", "r.json", "--annotations", "a.json"], "--results is evaluated by one process"),
    ],
)
def test_other_commands_are_checked_as_well(words, message):
    with pytest.raises(UserError, match=message):
        launch.check(words[0], words[1:], several=True)


def test_the_reason_is_shown_once(tmp_path, capsys):
    for rank, line in enumerate(["warning: x", "error: no room to write", "error: no room to write"]):
        (tmp_path / f"worker_{rank}.log").write_text(f"{line}\n")
    launch.say_why(tmp_path, 3)
    said = capsys.readouterr().err
    assert (
        said.count("no room to write") == 1 and said.startswith("process 1: error: ") and "goes on from there" in said
    )
    launch.say_why(tmp_path / "none", 2)
    assert "without a word" in capsys.readouterr().err


def test_two_real_processes_train_and_save(tmp_path):
    prepare = [sys.executable, "-m", "mindvideo", "prepare", "synthetic", "--output", "sets/synthetic_easy"]
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(PROJECT), "MSRUN_LOGS": "logs"}
    environment.pop("PORT", None)
    subprocess.run([*prepare, "--train", "8", "--valid", "2"], check=True, cwd=tmp_path, env=environment)
    small = [
        "videomt.num_blocks=2",
        "videomt.query_blocks=1",
        "data.num_frames=2",
        "data.batch_size=1",
        "data.workers=0",
        "data.root=sets",
    ]
    command = ["bash", str(LAUNCH), "2", "-c", "videomt_toy", "--output", "run", "schedule.max_steps=2", *small]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400)
    logs = "\n".join(path.read_text()[-1500:] for path in sorted((tmp_path / "logs").glob("*.log")))
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{done.stderr[-1500:]}\n{logs}"
    assert (tmp_path / "run" / "last.ckpt").is_file()
    assert "2 processes" in (tmp_path / "run" / "log.txt").read_text()
