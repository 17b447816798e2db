"""Says that memory runs out while the process still can: Linux ends the one that holds most, without a word."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

SHARE_LEFT, BYTES_LEFT = 0.05, 256 * 2**20  # a line is due when less than the smaller of the two is left
_NEAR = 4  # within so many times that amount it looks more often
_SECONDS, _SECONDS_NEAR = 0.5, 0.05
logger = logging.getLogger("mindvideo.memory")


class Memory(NamedTuple):
    """Bytes: what is left, of how much, and what this process holds."""

    left: int
    total: int
    own: int


@functools.cache
def watch_memory() -> None:
    """Look after the memory from now on, in a thread of its own; once a process, and only where the system tells."""
    if (memory := read_memory()) is not None:
        logger.debug("memory: %.1f of %.1f GB left", memory.left / 1e9, memory.total / 1e9)
        threading.Thread(target=warn_when_short, args=(read_memory,), name="memory watch", daemon=True).start()


def warn_when_short(read: Callable[[], Memory | None], sleep: Callable[[float], None] = time.sleep) -> None:
    """One line, once; returns after it, or when ``read`` has nothing more to tell."""
    while (memory := read()) is not None:
        enough = min(SHARE_LEFT * memory.total, BYTES_LEFT)
        if memory.left < enough:
            logger.warning(
                "memory runs out: %.1f of %.1f GB are left, this process holds %.1f; the system may end it at any "
                "moment. Fewer or smaller frames need less, and training with train.recompute=true (docs/training.md)",
                memory.left / 1e9, memory.total / 1e9, memory.own / 1e9,
            )  # fmt: skip
            return
        sleep(_SECONDS_NEAR if memory.left < _NEAR * enough else _SECONDS)


def read_memory(root: Path = Path("/")) -> Memory | None:
    """Of the machine, or of the container or control group that has the least; None where nobody says."""
    try:
        facts = _numbers(root / "proc/meminfo")
        own = _numbers(root / "proc/self/status")["VmRSS"]
        machine = Memory(1024 * facts["MemAvailable"], 1024 * facts["MemTotal"], 1024 * own)
    except (OSError, KeyError):
        return None
    return min([machine, *_group_memories(root, machine)], key=lambda memory: memory.left)


def _group_memories(root: Path, machine: Memory) -> Iterator[Memory]:
    """Of the process's own group and those around it, as far as they have limits (both versions of Linux's groups)."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, limit_file, used_file, cache = root / "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            limit_file, used_file, cache = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        folder = top / path.strip("/")
        for group in (folder, *folder.parents):
            limit, used = _text(group / limit_file).strip(), _text(group / used_file).strip()
            if limit.isdigit() and used.isdigit() and int(limit) < machine.total:
                freed = _numbers(group / "memory.stat").get(cache, 0)  # files that the system drops when it must
                yield Memory(int(limit) - int(used) + freed, int(limit), machine.own)
            if group == top:
                break


def _numbers(path: Path) -> dict[str, int]:
    """Lines ``name: number ...`` or ``name number``."""
    words = (line.replace(":", " ").split() for line in _text(path).splitlines())
    return {name: int(number) for name, number, *_ in (line for line in words if len(line) > 1) if number.isdigit()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
