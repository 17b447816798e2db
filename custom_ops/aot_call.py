"""Call the exported operators through ctypes: on host memory, or on device memory with nothing but libcudart."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import emulation
import numpy as np

NAMES = {"float32": "float32", "int32": "int32", "bool": "bool", "float16": "float16", "uint16": "bfloat16"}


class OperatorError(Exception):
    """An operator returned a code other than 0."""


def _call(function: Any, arrays: list[np.ndarray], pointers: list[int], stream: int | None) -> int:
    """arrays give shapes and types, pointers the memory."""
    count = len(arrays)
    shapes = [(ctypes.c_int64 * max(a.ndim, 1))(*a.shape) for a in arrays]
    return function(
        ctypes.c_int(count),
        (ctypes.c_void_p * count)(*pointers),
        (ctypes.c_int * count)(*(a.ndim for a in arrays)),
        (ctypes.POINTER(ctypes.c_int64) * count)(*(ctypes.cast(s, ctypes.POINTER(ctypes.c_int64)) for s in shapes)),
        (ctypes.c_char_p * count)(*(NAMES[str(a.dtype)].encode() for a in arrays)),
        ctypes.c_void_p(stream),
        ctypes.c_void_p(None),
    )


class HostCaller:
    """Operators of the CPU library on numpy arrays."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))

    def __call__(self, name: str, inputs: list[np.ndarray], outputs: list[tuple]) -> list[np.ndarray]:
        """outputs: (shape, type) of each. The memory is poisoned first, so that nothing may rely on zeros."""
        results = [np.full(shape, 77, dtype) for shape, dtype in outputs]
        self.into(name, [np.ascontiguousarray(a) for a in inputs], results)
        return results

    def into(self, name: str, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> None:
        """Fill ``outputs``. All arrays must be contiguous."""
        arrays = [*inputs, *outputs]
        code = _call(getattr(self.library, name), arrays, [a.ctypes.data for a in arrays], None)
        if code != 0:
            raise OperatorError(f"{name} returned {code}")


class DeviceCaller:
    """Operators of the CUDA library; arrays are copied to the device and back."""

    TO_DEVICE, TO_HOST = 1, 2
    shift = 0  # bytes by which every tensor lies beside an aligned address
    stream: int | None = None  # None: the default stream

    def __init__(self, library: Path, runtime: str = "libcudart.so") -> None:
        self.runtime = ctypes.CDLL(runtime)
        self.library = ctypes.CDLL(str(library))

    def check(self, code: int) -> None:
        if code != 0:
            self.runtime.cudaGetErrorString.restype = ctypes.c_char_p
            raise OperatorError(f"CUDA runtime: {self.runtime.cudaGetErrorString(code).decode()}")

    def upload(self, array: np.ndarray) -> int:
        pointer = ctypes.c_void_p()
        self.check(self.runtime.cudaMalloc(ctypes.byref(pointer), ctypes.c_size_t(max(array.nbytes + self.shift, 1))))
        inner = (pointer.value or 0) + self.shift
        self.check(
            self.runtime.cudaMemcpy(
                ctypes.c_void_p(inner),
                ctypes.c_void_p(array.ctypes.data),
                ctypes.c_size_t(array.nbytes),
                self.TO_DEVICE,
            )
        )
        return inner

    def download(self, pointer: int, array: np.ndarray) -> None:
        self.check(
            self.runtime.cudaMemcpy(
                ctypes.c_void_p(array.ctypes.data),
                ctypes.c_void_p(pointer),
                ctypes.c_size_t(array.nbytes),
                self.TO_HOST,
            )
        )

    def free(self, pointer: int) -> None:
        self.check(self.runtime.cudaFree(ctypes.c_void_p(pointer - self.shift)))

    def new_stream(self) -> int:
        stream = ctypes.c_void_p()
        self.check(self.runtime.cudaStreamCreate(ctypes.byref(stream)))
        assert stream.value is not None  # the code was 0
        return stream.value

    def prepare_outputs(self, pointers: list[int], arrays: list[np.ndarray]) -> None:
        """On a card they hold the poison that was copied there."""

    def launch(self, name: str, arrays: list[np.ndarray], pointers: list[int]) -> None:
        code = _call(getattr(self.library, name), arrays, pointers, self.stream)
        if code != 0:
            raise OperatorError(f"{name} returned {code}")

    def __call__(self, name: str, inputs: list[np.ndarray], outputs: list[tuple]) -> list[np.ndarray]:
        given = [np.ascontiguousarray(a) for a in inputs]
        results = [np.full(shape, 77, dtype) for shape, dtype in outputs]
        arrays = [*given, *results]
        pointers = [self.upload(a) for a in arrays]
        try:
            self.prepare_outputs(pointers[len(given) :], results)
            self.launch(name, arrays, pointers)
            self.check(self.runtime.cudaDeviceSynchronize())
            for pointer, result in zip(pointers[len(given) :], results):
                self.download(pointer, result)
        finally:
            for pointer in pointers:
                self.free(pointer)
        return results


class EmulatedCaller(DeviceCaller):
    """Operators of the emulated CUDA library (emulation.py), which is its own runtime; any finding is an error."""

    def __init__(self, library: Path, seed: int = 0) -> None:
        super().__init__(library, str(library))
        self.path = library
        self.library.emulation_findings.restype = ctypes.c_char_p
        self.library.emulation_seed(ctypes.c_uint64(seed))

    def findings(self) -> str:
        """The mistakes that the machine has found since the last call, one line each."""
        lines = self.library.emulation_findings().decode().splitlines()
        return "\n".join(emulation.place_of(self.path, line) for line in lines)

    def launch(self, name: str, arrays: list[np.ndarray], pointers: list[int]) -> None:
        try:
            super().launch(name, arrays, pointers)
        except OperatorError as error:
            raise OperatorError(f"{error}\n{self.findings()}") from None

    def __call__(self, name: str, inputs: list[np.ndarray], outputs: list[tuple]) -> list[np.ndarray]:
        results = super().__call__(name, inputs, outputs)
        findings = self.findings()
        if findings:
            raise OperatorError(f"{name}:\n{findings}")
        return results

    def prepare_outputs(self, pointers: list[int], arrays: list[np.ndarray]) -> None:
        for pointer, array in zip(pointers, arrays):
            self.library.emulation_forget(ctypes.c_void_p(pointer), ctypes.c_size_t(array.nbytes))
