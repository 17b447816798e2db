"""The compiled functions of ``custom_ops`` that read run-length codes; each is None where it cannot be used.

``MINDVIDEO_OPS=reference`` forces the twins in Python.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from collections.abc import Callable, Sequence
from typing import cast

from mindvideo.native_library import find_function

_log = logging.getLogger("mindvideo.masks")
_POINTER, _INT, _INT64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64


@functools.cache
def native_sampling() -> Callable[..., int] | None:
    """Reads chosen rows and columns of one mask; with none chosen it only checks the runs."""
    takes = [ctypes.c_char_p, _INT64, _INT, _INT, _POINTER, _INT, _POINTER, _INT, _POINTER]
    return _found("mindvideo_sample_runs", takes, _INT)


@functools.cache
def native_overlap() -> Callable[..., int] | None:
    """Areas and intersections of all masks of a video."""
    takes = [ctypes.c_char_p, _POINTER, _INT64, _INT64, _INT64, _INT64, _POINTER, _POINTER, _POINTER]
    return _found("mindvideo_tube_overlap", takes, _INT64)


def _found(name: str, takes: Sequence[type], returns: type) -> Callable[..., int] | None:
    try:
        return cast("Callable[..., int] | None", find_function(name, takes=takes, returns=returns))
    except OSError as error:
        _log.warning("the native library cannot be loaded (%s): masks are read with pycocotools, more slowly", error)
        return None
