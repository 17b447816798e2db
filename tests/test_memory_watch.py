"""The line about memory that runs out: when it is due, and what it reads on machines and in containers."""

from __future__ import annotations

import logging
import re
import threading
from pathlib import Path

import pytest

from mindvideo import load_config
from mindvideo.assembly import prepare_device
from mindvideo.memory_watch import Memory, read_memory, warn_when_short

GB = 10**9
KB = 1024


def machine(root: Path, *, left: int, total: int = 8 * GB, own: int = GB, group: str = "", files: dict | None = None):
    """The files of a Linux machine below ``root``."""
    contents = {
        "proc/meminfo": f"MemTotal: {total // KB} kB\nMemAvailable:  {left // KB} kB\nHugePages_Total: 0\n",
        "proc/self/status": f"Name:\tpython\nState:\tR (running)\nVmRSS:\t  {own // KB} kB\n",
        "proc/self/cgroup": group,
        **(files or {}),
    }
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def near(memory: Memory | None, *expected: int) -> bool:
    return memory is not None and tuple(memory) == pytest.approx(expected, abs=KB)


def test_a_machine_without_groups(tmp_path):
    assert near(read_memory(machine(tmp_path, left=3 * GB)), 3 * GB, 8 * GB, GB)


@pytest.mark.parametrize("version", [1, 2])
def test_the_least_of_the_machine_and_the_groups_around_the_process_counts(tmp_path, version):
    """The inner group has no limit, the outer one 2 GB, of which 1.5 are used, 0.25 of that by files that can go."""
    if version == 2:
        top, group = "sys/fs/cgroup", "0::/outer/inner\n"
        limit, used, none, cache = "memory.max", "memory.current", "max", "inactive_file"
    else:
        top, group = "sys/fs/cgroup/memory", "9:name=systemd:/\n4:memory:/outer/inner\n"
        limit, used, cache = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        none = str(2**63 - 4096)
    files = {
        f"{top}/outer/inner/{limit}": none + "\n",
        f"{top}/outer/inner/{used}": f"{GB}\n",
        f"{top}/outer/{limit}": f"{2 * GB}\n",
        f"{top}/outer/{used}": f"{3 * GB // 2}\n",
        f"{top}/outer/memory.stat": f"anon 5\n{cache} {GB // 4}\nactive_file 7\n",
    }
    assert near(read_memory(machine(tmp_path, left=3 * GB, group=group, files=files)), 3 * GB // 4, 2 * GB, GB)
    assert near(read_memory(machine(tmp_path, left=GB // 2, group=group, files=files)), GB // 2, 8 * GB, GB)


def test_elsewhere_nobody_says(tmp_path):
    assert read_memory(tmp_path) is None
    machine(tmp_path, left=GB)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 8 kB\n")
    assert read_memory(tmp_path) is None


@pytest.mark.parametrize(
    ("total", "lefts", "looks"),
    [
        (4 * GB, [2.0, 0.21, 0.19, 0.01], 3),  # a twentieth of a small machine
        (64 * GB, [20.0, 1.0, 0.3, 0.26, 0.01], 4),  # a quarter of a GB of a large one
    ],
)
def test_one_line_when_little_is_left(caplog, total, lefts, looks):
    seen, waits = [], []

    def read() -> Memory:
        seen.append(lefts[len(seen)])
        return Memory(int(seen[-1] * GB), total, total - int(seen[-1] * GB))

    with caplog.at_level(logging.WARNING, logger="mindvideo.memory"):
        warn_when_short(read, sleep=waits.append)
    assert len(seen) == looks
    (record,) = caplog.records
    said = record.getMessage()
    assert re.search(r"memory runs out: 0\.[23] of (4|64)\.0 GB are left, this process holds (3\.8|63\.7);", said)
    assert waits[0] > waits[-1]  # it looks more often when it is near


def test_a_model_that_is_to_run_is_watched():
    if read_memory() is None:
        pytest.skip("this system does not tell of its memory")
    prepare_device(load_config("vistr_toy"))
    assert "memory watch" in [thread.name for thread in threading.enumerate()]


def test_where_nobody_says_any_more_the_watch_ends_in_silence(caplog):
    warn_when_short(lambda: None, sleep=lambda seconds: None)
    assert not caplog.records
