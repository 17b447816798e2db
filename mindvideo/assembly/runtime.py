"""Section ``runtime``: device, execution mode, seeds."""

from __future__ import annotations

import logging
import os

import mindspore as ms
import numpy as np
from ml_collections import ConfigDict

from mindvideo.errors import UserError
from mindvideo.ops.backend import backend


def prepare_device(cfg: ConfigDict) -> None:
    """Select device and mode and seed MindSpore and NumPy. Call it before any network is built."""
    runtime = cfg.runtime
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
    ms.set_context(mode=ms.PYNATIVE_MODE if runtime.mode == "pynative" else ms.GRAPH_MODE)
    ms.set_seed(runtime.seed)
    np.random.seed(runtime.seed)
    logging.getLogger("mindvideo.run").info(
        "device %s, %s mode, operators: %s", runtime.device, runtime.mode, backend()
    )
