"""Train, evaluate or run on videos in several processes on this machine: msrun, and an orderly end.

Every process is given this interpreter; a port that is in use is refused before anything starts; Ctrl-C and SIGTERM are
passed to the processes, which finish their step and write a checkpoint; when this command dies, so do they.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from mindvideo.assembly.configuration import load_config
from mindvideo.cli import eval as evaluation
from mindvideo.cli import infer, train
from mindvideo.cli.arguments import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, OneLineParser, whole_number
from mindvideo.errors import UserError
from mindvideo.processes import LAUNCHED_VARIABLE, children_of, end_with_parent, environment_of
from mindvideo.resources import PACKAGE

FIRST_PORT, PORTS = 8118, 100
COMMANDS = {"train": train, "eval": evaluation, "infer": infer}
LOOK_EVERY, GRACE_SECONDS = 0.3, 20.0
FAILED = b"exit with exception"  # in what msrun says of a process that failed
SAME_REQUEST_SECONDS = 0.5  # one Ctrl-C may arrive twice
EXAMPLES = """
Examples:
  mindvideo launch 8 -c vistr --output runs/vistr runtime.device=GPU
  mindvideo launch 2 --port 8200 train -c vistr_toy --output runs/toy schedule.max_steps=10
  mindvideo launch 4 eval -c vistr --weights vistr_r50.pth --output runs/eval data.valid=ytvis19/valid
  mindvideo launch 4 infer videos/ -c vistr --weights vistr_r50.pth --output out
The videos of eval and infer are shared; what is finished is kept, and the same command goes on after a fault.
PORT is --port, MSRUN another msrun, MSRUN_ARGS more arguments for it, and MSRUN_LOGS (default runs/msrun) the folder of
the processes' own lines. For several machines call msrun itself (docs/training.md).
"""


def parse_arguments(arguments: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """The launcher's own arguments, and those of the command."""
    parser = OneLineParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="%(prog)s PROCESSES [--port PORT] [train|eval|infer] -c NAME --output DIR [arguments of the command]",
    )
    parser.add_argument(
        "processes", type=whole_number(1, 1024), metavar="PROCESSES", help="how many; each takes a device of its own"
    )
    parser.add_argument(
        "--port",
        type=whole_number(1, 65535),
        default=os.environ.get("PORT"),
        help="of the first process (default: PORT, else a free one)",
    )
    return parser.parse_known_args(arguments)


def main() -> int:
    given, rest = parse_arguments()
    name, rest = split_command(rest)
    check(name, rest, several=given.processes > 1)
    port = free_port(given.port)
    logs = Path(os.environ.get("MSRUN_LOGS", "runs/msrun"))
    with processes(given.processes, port, name, rest, logs=logs) as msrun:
        code = wait_for(msrun)
    if code == EXIT_FAILURE:
        say_why(logs, given.processes)
    return code


def split_command(words: list[str]) -> tuple[str, list[str]]:
    """The command's name, which is ``train`` where none is given, and its arguments."""
    return (words[0], words[1:]) if words and words[0] in COMMANDS else ("train", words)


def check(name: str, rest: list[str], *, several: bool) -> None:
    """A mistake in the command is shown once, not by every process."""
    arguments = COMMANDS[name].parse_arguments(rest)
    if arguments.config:
        load_config(arguments.config, arguments.overrides)
    if name == "train":
        train.check_output(arguments)
    elif name == "infer" and arguments.redraw:
        raise UserError("--redraw is done by one process: mindvideo infer --redraw ...")
    elif name == "eval" and arguments.results:
        raise UserError("--results is evaluated by one process: mindvideo eval --results ...")
    if arguments.output is None and several:
        raise UserError("several processes write into one run folder: name it with --output")


def say_why(logs: Path, count: int) -> None:
    """The errors that the processes wrote, each once."""
    said: dict[str, int] = {}
    for rank in range(count):
        log = logs / f"worker_{rank}.log"
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []:
            if line.startswith("error: "):
                said.setdefault(line, rank)
    for line, rank in said.items():
        sys.stderr.write(f"process {rank}: {line}\n")
    if not said:
        sys.stderr.write(f"error: a process has ended without a word (killed?); the lines of all are in {logs}\n")
    sys.stderr.write("what was finished is kept; the same command goes on from there (train: with --resume)\n")


def free_port(wanted: int | None) -> int:
    """The port asked for, which must be free, or the first free one."""
    for port in range(FIRST_PORT, FIRST_PORT + PORTS) if wanted is None else [wanted]:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    if wanted is not None:
        raise UserError(
            f"--port {wanted} (or PORT) is in use by another program; name another, or none to have one chosen"
        )
    raise UserError(f"no port of {FIRST_PORT} to {FIRST_PORT + PORTS - 1} is free; name one with --port")


@contextlib.contextmanager
def processes(count: int, port: int, name: str, rest: list[str], *, logs: Path) -> Iterator[subprocess.Popen]:
    """msrun in a session of its own, so that a Ctrl-C of the terminal reaches only this process."""
    command = [find_msrun(), f"--worker_num={count}", f"--local_worker_num={count}", f"--master_port={port}"]
    command += [f"--log_dir={logs}", "--join=True", "--tail_worker_log=0"]  # only the first one's lines are shown
    command += shlex.split(os.environ.get("MSRUN_ARGS", ""))
    with tempfile.TemporaryDirectory(prefix="mindvideo-launch-") as folder:
        # msrun starts a script, with the `python` of the PATH, whichever that is.
        script, python = Path(folder) / f"{name}.py", Path(folder) / "python"
        script.write_text(f"from mindvideo.cli import run_command\n\nrun_command('{name}')\n")
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        python.chmod(0o755)
        environment = {**os.environ, LAUNCHED_VARIABLE: f"mindvideo launch {count} {name}"}
        environment["PATH"] = os.pathsep.join([folder, environment.get("PATH", os.defpath)])
        environment["PYTHONPATH"] = os.pathsep.join([str(PACKAGE.parent), environment.get("PYTHONPATH", "")])
        msrun = subprocess.Popen(
            [*command, str(script), *rest],
            env=environment,
            start_new_session=True,
            preexec_fn=end_with_parent,
            stderr=subprocess.PIPE,
        )
        try:
            yield msrun
        finally:
            end_all(msrun)


def find_msrun() -> str:
    beside = Path(sys.executable).with_name("msrun")
    program = os.environ.get("MSRUN") or (str(beside) if beside.is_file() else shutil.which("msrun"))
    if program is None or shutil.which(program) is None:
        raise UserError(f"no msrun beside {sys.executable} nor on the PATH: is MindSpore installed for this Python?")
    return program


def wait_for(msrun: subprocess.Popen[bytes]) -> int:
    """Until msrun ends; signals go on to the processes. Where one has died, msrun ends the others."""
    asked: list[float] = []

    def pass_on(_number: int, _frame: object) -> None:
        now = time.monotonic()
        if asked and now - asked[0] <= SAME_REQUEST_SECONDS:
            return
        if asked:
            kill_all(msrun.pid)
        asked.append(now)
        for worker in workers_of(msrun.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGTERM)
        sys.stderr.write("asked to stop: every process finishes its step; once more to stop at once\n")

    assert msrun.stderr is not None  # it was started with a pipe
    said = SaidByMsrun(msrun.stderr)
    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = wait_or_end(msrun, said)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        return EXIT_INTERRUPTED
    return EXIT_OK if code == 0 else EXIT_FAILURE


class SaidByMsrun:
    """Passes on what msrun writes to standard error, until it says that a process has failed: its traceback says less
    than the processes do."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.failed = threading.Event()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream: IO[bytes]) -> None:
        for line in stream:
            if FAILED in line:
                self.failed.set()
            if not self.failed.is_set():
                sys.stderr.write(line.decode("utf-8", errors="replace"))
                sys.stderr.flush()


def wait_or_end(msrun: subprocess.Popen, said: SaidByMsrun) -> int:
    """msrun's exit code; after a process has failed it would wait half a minute for its scheduler, and is ended."""
    failed_at = None
    while msrun.poll() is None:
        if said.failed.is_set():
            failed_at = failed_at or time.monotonic()
            is_late = time.monotonic() - failed_at > GRACE_SECONDS
            if not workers_of(msrun.pid) or is_late:
                kill_all(msrun.pid)
        time.sleep(LOOK_EVERY)
    return msrun.returncode


def workers_of(msrun: int) -> list[int]:
    """The processes that train; msrun's scheduler, which only connects them, is none."""
    return [pid for pid in children_of(msrun) if environment_of(pid).get("MS_ROLE") == "MS_WORKER"]


def end_all(msrun: subprocess.Popen) -> None:
    """Nothing that was started here goes on: msrun puts its processes into sessions of their own."""
    if msrun.poll() is None:
        kill_all(msrun.pid)
        msrun.wait()


def kill_all(msrun: int) -> None:
    for pid in [*children_of(msrun), msrun]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
