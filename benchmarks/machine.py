"""The machine that figures are measured on: its name, and what others do on it meanwhile."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


class Load:
    """The share of the machine's processor time that others took since this was made (Linux)."""

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat = stat
        self._busy, self._all = self._ticks()
        self._own = self._own_seconds()

    def of_others(self) -> float:
        busy, every = self._ticks()
        if every == self._all:
            return 0.0
        own = (self._own_seconds() - self._own) * os.sysconf("SC_CLK_TCK")
        return max(0.0, (busy - self._busy - own) / (every - self._all))

    def _ticks(self) -> tuple[int, int]:
        """Ticks in which a core worked (also for another machine on the same host), and all ticks."""
        ticks = [int(word) for word in self._stat.read_text(encoding="ascii").splitlines()[0].split()[1:9]]
        return sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # all but idle and waiting for a disk

    def _own_seconds(self) -> float:
        """Of this process and of its children that ended."""
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in used)
