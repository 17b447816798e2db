"""Section ``runtime``: device, execution mode, seeds."""

from __future__ import annotations

import ctypes
import functools
import gc
import logging
import os

import mindspore as ms
import numpy as np
from ml_collections import ConfigDict

from mindvideo.compile_times import kept_graphs
from mindvideo.errors import UserError
from mindvideo.execution.kept_graph import keep_graphs
from mindvideo.memory_watch import watch_memory
from mindvideo.native_build import build_on_first_use
from mindvideo.native_library import find_function
from mindvideo.ops.backend import backend

BUSY_WAIT_VARIABLE = "MINDVIDEO_BUSY_WAIT"


def prepare_device(cfg: ConfigDict) -> None:
    """Select device and mode and seed MindSpore and NumPy. Call it before any network is built."""
    runtime = cfg.runtime
    if runtime.device == "CPU":
        build_on_first_use()
    device = (runtime.device, int(os.environ.get("DEVICE_ID", runtime.device_id)))
    try:
        # MindSpore refuses any selection once an operator ran, also that of the device it ran on.
        if device != (ms.get_context("device_target"), ms.get_context("device_id")):
            ms.set_device(*device)
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"runtime.device={runtime.device} is not usable with this MindSpore installation ({reason}); "
            "choose another device or install MindSpore's package for it"
        ) from error
    run_operators_at_once()
    wait_patiently()
    leave_imports_uncollected()
    watch_memory()
    ms.set_context(mode=ms.PYNATIVE_MODE if runtime.mode == "pynative" else ms.GRAPH_MODE)
    keep_graphs(runtime.keep_graphs, compile_after=runtime.compile_after)
    kept_graphs.compiles = runtime.mode == "graph"
    ms.set_seed(runtime.seed)
    np.random.seed(runtime.seed)
    logging.getLogger("mindvideo.run").info(
        "device %s, %s mode, operators: %s", runtime.device, runtime.mode, backend()
    )


@functools.cache
def run_operators_at_once() -> None:
    """On a CPU operators outside compiled graphs run in the caller.

    MindSpore hands them from thread to thread otherwise, and waits wherever its two kinds of operators meet: a frame of
    a small network takes four times as long. Compiled graphs are not touched.
    """
    if ms.get_context("device_target") == "CPU":
        ms.runtime.launch_blocking()


@functools.cache
def leave_imports_uncollected() -> None:
    """Python's garbage collection leaves out what is there by now, modules above all; once a process.

    Compiling makes so many small objects that it would look through the modules dozens of times.
    """
    gc.freeze()


def wait_patiently() -> int:
    """Let MindSpore's threads sleep where another process wants their processor; how many of its libraries do so.

    Beside one busy process they wait 10 to 30 times longer otherwise, see ``custom_ops/cpu/patient_wait.cpp``.
    ``MINDVIDEO_BUSY_WAIT=1`` leaves MindSpore as it is.
    """
    if os.environ.get(BUSY_WAIT_VARIABLE) == "1":
        return 0
    function = find_function("mindvideo_wait_patiently", takes=[], returns=ctypes.c_int)
    return 0 if function is None else int(function() or 0)
