"""Train in several processes on this machine: msrun with what it leaves to the caller, and an orderly end.

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
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mindvideo.assembly.configuration import load_config
from mindvideo.cli import train
from mindvideo.cli.arguments import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, OneLineParser, whole_number
from mindvideo.errors import UserError
from mindvideo.processes import LAUNCHED_VARIABLE, children_of, end_with_parent, environment_of
from mindvideo.resources import PACKAGE

FIRST_PORT, PORTS = 8118, 100
SAME_REQUEST_SECONDS = 0.5  # one Ctrl-C may arrive twice
EXAMPLES = """
Examples:
  mindvideo launch 8 -c vistr --output runs/vistr runtime.device=GPU
  mindvideo launch 2 --port 8200 -c vistr_toy --output runs/toy schedule.max_steps=10
PORT is --port, MSRUN another msrun, MSRUN_ARGS more arguments for it, and MSRUN_LOGS (default runs/msrun) the folder of
the processes' own lines. For several machines call msrun itself (docs/training.md).
"""


def parse_arguments(arguments: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """The launcher's own arguments, and those of the training."""
    parser = OneLineParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="%(prog)s PROCESSES [--port PORT] -c NAME --output DIR [arguments of train]",
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
    given, training = parse_arguments()
    arguments = train.parse_arguments(training)  # a mistake is shown once, not by every process
    load_config(arguments.config, arguments.overrides)
    train.check_output(arguments)
    if arguments.output is None and given.processes > 1:
        raise UserError("several processes write into one run folder: name it with --output")
    port = free_port(given.port)
    with processes(given.processes, port, training) as msrun:
        return wait_for(msrun)


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
def processes(count: int, port: int, training: list[str]) -> Iterator[subprocess.Popen]:
    """msrun in a session of its own, so that a Ctrl-C of the terminal reaches only this process."""
    command = [find_msrun(), f"--worker_num={count}", f"--local_worker_num={count}", f"--master_port={port}"]
    command += [f"--log_dir={os.environ.get('MSRUN_LOGS', 'runs/msrun')}", "--join=True"]
    command += shlex.split(os.environ.get("MSRUN_ARGS", ""))
    with tempfile.TemporaryDirectory(prefix="mindvideo-launch-") as folder:
        # msrun starts a script, with the `python` of the PATH, whichever that is.
        script, python = Path(folder) / "train.py", Path(folder) / "python"
        script.write_text("from mindvideo.cli import run_command\n\nrun_command('train')\n")
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        python.chmod(0o755)
        environment = {**os.environ, LAUNCHED_VARIABLE: f"mindvideo launch {count}"}
        environment["PATH"] = os.pathsep.join([folder, environment.get("PATH", os.defpath)])
        environment["PYTHONPATH"] = os.pathsep.join([str(PACKAGE.parent), environment.get("PYTHONPATH", "")])
        msrun = subprocess.Popen(
            [*command, str(script), *training], env=environment, start_new_session=True, preexec_fn=end_with_parent
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


def wait_for(msrun: subprocess.Popen) -> int:
    """Until msrun ends; signals go on to the training processes."""
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

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = msrun.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        return EXIT_INTERRUPTED
    return EXIT_OK if code == 0 else EXIT_FAILURE


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
