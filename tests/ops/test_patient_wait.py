"""MindSpore's threads sleep while they wait, where the library can make them."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindvideo.assembly.runtime import BUSY_WAIT_VARIABLE, wait_patiently
from mindvideo.native_library import CPU_LIBRARY, library_folder


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other tables of imports")
@pytest.mark.skipif(not (library_folder() / CPU_LIBRARY).is_file(), reason="the library is not built")
def test_the_waiting_of_several_libraries_is_replaced_and_numbers_stay(monkeypatch):
    layer = nn.Dense(32, 16)
    x = ms.Tensor(np.random.default_rng(0).standard_normal((64, 32), np.float32))
    monkeypatch.setenv(BUSY_WAIT_VARIABLE, "1")
    assert wait_patiently() == 0
    before = layer(x).asnumpy()
    monkeypatch.delenv(BUSY_WAIT_VARIABLE)
    assert wait_patiently() > 1
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        for _ in range(20):
            np.testing.assert_array_equal(layer(x).asnumpy(), before)
    finally:
        busy.kill()
        busy.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's counts are Linux's")
@pytest.mark.skipif(not (library_folder() / CPU_LIBRARY).is_file(), reason="the library is not built")
def test_only_the_work_of_others_makes_a_wait_patient():
    """On one core: this process works by itself, beside a neighbour, and by itself again."""
    others_work = ctypes.CDLL(str(library_folder() / CPU_LIBRARY)).mindvideo_others_work
    cores = os.sched_getaffinity(0)
    core = min(cores)
    os.sched_setaffinity(0, {core})
    try:
        require_agreement(others_work, core, others=False)
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            require_agreement(others_work, core, others=True)
        finally:
            busy.kill()
            busy.wait()
        require_agreement(others_work, core, others=False)
    finally:
        os.sched_setaffinity(0, cores)


def require_agreement(others_work, core: int, *, others: bool) -> None:
    """In a second in which others clearly worked on the core, or clearly did not, the library comes to say so."""
    seen = []
    give_up_at = time.monotonic() + 6
    while time.monotonic() < give_up_at:
        before = work_of_others(core), time.monotonic()
        while time.monotonic() < before[1] + 1.0:
            others_work()  # looks, as threads that wait do
        share = (work_of_others(core) - before[0]) / (time.monotonic() - before[1])
        if share > 0.3 if others else share < 0.05:
            seen.append(others_work())
            if seen[-1] == others:
                return
    if not seen:
        pytest.skip(f"no second of six in which others {'worked' if others else 'left'} this core")
    pytest.fail(f"others {'worked' if others else 'did not work'} on the core and the library said otherwise: {seen}")


def work_of_others(core: int) -> float:
    """Seconds since the machine started in which the core worked for anyone but this process, which runs only there."""
    with open("/proc/stat") as file:
        line = next(line for line in file if line.startswith(f"cpu{core} "))
    user, nice, system, _, _, irq, softirq, *_ = (int(word) for word in line.split()[1:])
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / ticks - time.process_time()
