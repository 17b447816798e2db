"""Checks of array shapes and types whose messages give both the expected and the actual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def expect_array(
    owner: str, name: str, value: Any, *, shape: Sequence[int | str], dtype: type | tuple[type, ...]
) -> np.ndarray:
    """``value`` if it is an array of the dtype and shape; a string in ``shape`` is an axis of any length."""
    dtypes = dtype if isinstance(dtype, tuple) else (dtype,)
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{owner}.{name}: expected a numpy array, got {type(value).__name__}")
    if not any(np.issubdtype(value.dtype, allowed) for allowed in dtypes):
        names = " or ".join(np.dtype(d).name if d not in (np.integer, np.floating) else d.__name__ for d in dtypes)
        raise TypeError(f"{owner}.{name}: expected dtype {names}, got {value.dtype}")
    fits = value.ndim == len(shape) and all(
        isinstance(axis, str) or length == axis for axis, length in zip(shape, value.shape)
    )
    if not fits:
        wanted = ", ".join(str(axis) for axis in shape)
        raise ValueError(f"{owner}.{name}: expected shape [{wanted}], got {list(value.shape)}")
    return value
