"""Processes and their parents, as Linux tells of them; elsewhere there is nothing to see and nothing is promised."""

from __future__ import annotations

import ctypes
import gc
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

LAUNCHED_VARIABLE = "MINDVIDEO_LAUNCHED"  # the command that started several processes of one training
_PR_SET_PDEATHSIG = 1


def num_launched() -> int:
    """How many processes a launcher (msrun) started together with this one; 1 without one."""
    return int(os.environ.get("MS_WORKER_NUM", "1"))


def is_scheduler() -> bool:
    """msrun starts one process more, which only connects the others."""
    return num_launched() > 1 and os.environ.get("MS_ROLE") == "MS_SCHED"


def is_first_process() -> bool:
    """From what msrun tells each process, known before they are connected."""
    if num_launched() == 1:
        return True
    rank = os.environ.get("MS_NODE_ID", os.environ.get("RANK_ID", "0"))
    return not is_scheduler() and rank == "0"


def own_command(words: Sequence[str]) -> str:
    """A command line for a shell that starts this program as ``words`` (of ``sys.argv``) did."""
    first, *others = words
    program = ["-m", *first.split()] if first.startswith("mindvideo ") else [first]  # the command names itself so
    return shlex.join([sys.executable, *program, *others])


def end_with_parent() -> None:
    """Ask the system for a SIGTERM when the process that started this one ends, however it ends."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # it ended just before
        os.kill(os.getpid(), signal.SIGTERM)


def children_of(pid: int) -> list[int]:
    """The processes that ``pid`` started and that have not ended."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in brackets may hold anything; state and parent come after it.
            state, parent = entry.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue  # it has ended
        if int(parent) == pid and state != "Z":
            found.append(int(entry.parent.name))
    return sorted(found)


def environment_of(pid: int) -> dict[str, str]:
    """The environment a process was started with; empty where it cannot be seen."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    entries = content.decode("utf-8", errors="replace").split("\0")
    return dict(entry.split("=", maxsplit=1) for entry in entries if "=" in entry)


def give_back_memory() -> None:
    """Hand free memory that the C library keeps for later back to the system; nothing happens where it can't."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        gc.collect()
        trim(0)
