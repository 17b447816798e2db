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
    """On one core: this process works alone, beside a neighbour, and alone again."""
    others_work = ctypes.CDLL(str(library_folder() / CPU_LIBRARY)).mindvideo_others_work
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert comes_to(others_work, 0)
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            assert comes_to(others_work, 1)
        finally:
            busy.kill()
            busy.wait()
        assert comes_to(others_work, 0)
    finally:
        os.sched_setaffinity(0, cores)


def comes_to(others_work, wanted: int) -> bool:
    """Whether the answer is ``wanted`` before long, while this thread works; another process may pass by meanwhile."""
    give_up_at = time.monotonic() + 20
    while time.monotonic() < give_up_at:
        look_again_at = time.monotonic() + 0.3
        while time.monotonic() < look_again_at:
            pass
        if others_work() == wanted:
            return True
    return False
