"""The memory of a job's processes, read from /proc (without it nothing is measured), and the end of all of them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


class Process(NamedTuple):
    parent: int
    session: int
    started: int  # with the id it names a process, also when the id is given to another one later
    mb: float  # resident


def running_processes() -> dict[int, Process]:
    """Every process of the machine by its id."""
    found = {}
    # Not by a glob: that looks at each entry itself, and raises when a process has ended meanwhile.
    for name in filter(str.isdigit, os.listdir(PROC) if PROC.is_dir() else ()):
        try:
            fields = (PROC / name / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if fields[0] != "Z":
            parent, session, started, pages = (int(fields[place]) for place in (1, 3, 19, 21))
            found[int(name)] = Process(parent, session, started, pages * PAGE_MB)
    return found


class ProcessGroup:
    """A process that leads its own session, and everything that it started, also what moved to other sessions."""

    def __init__(self, leader: int) -> None:
        self.leader = leader
        self.sessions = {leader}
        self.members: dict[int, int] = {}  # id -> started

    def update(self, processes: dict[int, Process]) -> float:
        """Find the members among ``processes``; their memory in MB."""
        members = {pid for pid, process in processes.items() if process.session in self.sessions}
        members |= {pid for pid, at in self.members.items() if pid in processes and processes[pid].started == at}
        grown = True
        while grown:
            children = {pid for pid, process in processes.items() if process.parent in members} - members
            members |= children
            grown = bool(children)
        self.members = {pid: processes[pid].started for pid in members}
        self.sessions = {pid for pid in members if processes[pid].session == pid} | {self.leader}
        return sum(processes[pid].mb for pid in members)

    def end(self, grace: float = 3.0) -> None:
        """SIGTERM to all, and SIGKILL to those that are still there after ``grace`` seconds."""
        self._signal(signal.SIGTERM)
        limit = time.monotonic() + grace
        while time.monotonic() < limit and self._alive():
            time.sleep(0.1)
        self._signal(signal.SIGKILL)

    def _alive(self) -> bool:
        processes = running_processes()
        self.update(processes)
        return bool(self.members)

    def _signal(self, number: int) -> None:
        self.update(running_processes())
        for pid in self.members:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
