"""Which implementation of the native operators this process uses, decided once and said in one log line.

Order: Ascend primitive, CUDA library, CPU library, MindSpore's own operators ("reference"). The libraries are built by
``mindvideo ops build``; without them everything works through the reference. The environment variable
``MINDVIDEO_OPS=reference`` forces the reference, ``MINDVIDEO_OPS=native`` makes a missing library an error.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from collections.abc import Callable
from typing import Any

import mindspore
from mindspore import ops
from mindspore.ops import constexpr

from mindvideo.errors import UserError
from mindvideo.native_library import CHOICE_VARIABLE, CPU_LIBRARY, library_folder
from mindvideo.ops.selection import implementation

CHOICES = ("auto", "native", "reference")
BUILD_COMMAND = "mindvideo ops build"
_LIBRARY_NAMES = {"CPU": CPU_LIBRARY, "GPU": "libmindvideo_cuda.so"}
_BACKEND_NAMES = {"CPU": "cpu", "GPU": "cuda"}

_log = logging.getLogger("mindvideo.ops")


@functools.cache
def backend() -> str:
    """``"ascend"``, ``"cuda"``, ``"cpu"`` or ``"reference"``: chosen at the first call, then fixed."""
    device = mindspore.get_context("device_target")
    choice = os.environ.get(CHOICE_VARIABLE, "auto")
    if choice not in CHOICES:
        raise UserError(f"{CHOICE_VARIABLE}={choice!r} is not known; use one of {', '.join(CHOICES)}")
    library = library_folder() / _LIBRARY_NAMES.get(device, "none")
    if choice == "reference":
        name, reason = "reference", f"{CHOICE_VARIABLE}=reference"
    elif device == "Ascend":
        name, reason = "ascend", "MindSpore's Ascend primitives where they exist"
    elif library.is_file():
        name, reason = _BACKEND_NAMES[device], str(library)
    elif choice == "native":
        raise UserError(f"{CHOICE_VARIABLE}=native, but {library} does not exist; run: {BUILD_COMMAND}")
    else:
        name, reason = "reference", f"slow: {library} does not exist; for speed run: {BUILD_COMMAND}"
    _log.info("native operators on %s: %s (%s)", device, name, reason)
    return name


@constexpr
def has_native_library() -> bool:
    """Whether operators may call the compiled library; a constant inside compiled graphs."""
    return backend() in ("cpu", "cuda")


@constexpr
def runs_as(wanted: str, operator: str, dtype: Any, sizes: tuple[int, int, int] = (0, 0, 0)) -> bool:
    """Whether the operator takes the implementation `wanted` for this type and sizes; a constant inside graphs."""
    return implementation(backend(), operator, str(dtype).lower(), sizes) == wanted


@constexpr
def is_native(operator: str, shape: tuple[int, ...], dtype: Any) -> bool:
    """Whether the compiled library computes an operator of one input; it is not asked about empty ones."""
    return 0 not in shape and implementation(backend(), operator, str(dtype).lower()) == "native"


@functools.cache
def instruction_set() -> str:
    """``"plain"``, ``"avx2"`` or ``"avx512"``: what the CPU library computes with on this machine."""
    library = ctypes.CDLL(str(library_folder() / CPU_LIBRARY))
    library.mindvideo_instruction_set.restype = ctypes.c_char_p
    return library.mindvideo_instruction_set().decode()


@functools.cache
def half_instructions() -> str:
    """``"amx_bf16"``, ``"avx512_bf16"`` or ``"none"``: what the CPU library has for bfloat16 on this machine."""
    library = ctypes.CDLL(str(library_folder() / CPU_LIBRARY))
    library.mindvideo_half_instructions.restype = ctypes.c_char_p
    return library.mindvideo_half_instructions().decode()


def native_op(
    function: str,
    *,
    out_shape: Callable[..., Any],
    out_dtype: Callable[..., Any],
    bprop: Callable[..., Any] | None = None,
) -> ops.Custom:
    """The compiled `function` as a MindSpore operator; call it through a cached function of no arguments."""
    device = mindspore.get_context("device_target")
    path = library_folder() / _LIBRARY_NAMES[device]
    return ops.Custom(f"{path}:{function}", out_shape, out_dtype, func_type="aot", bprop=bprop)


@constexpr(check=False)
def _is_compiling(function: Any) -> bool:
    return function is None


def in_graph() -> bool:
    """True while MindSpore compiles the caller into a graph, False when it runs step by step."""

    def probe() -> int:
        return 0

    # The compiler hands a function to a constexpr as None: a functional closure has no Python value there.
    return _is_compiling(probe)
