"""Silhouettes that differ only in shape, as signed tests on coordinates relative to the circumradius."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Each takes u, v [...]: coordinates in the object's own frame, divided by its circumradius; True inside.
Silhouette = Callable[[np.ndarray, np.ndarray], np.ndarray]


def disc(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return u * u + v * v <= 1.0


def square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(u), np.abs(v)) <= np.float32(np.sqrt(0.5))


def triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Equilateral, one corner up (v points down)."""
    slope = np.float32(np.sqrt(3.0))
    return (v <= 0.5) & (v >= slope * np.abs(u) - 1.0)


def cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    arm = np.float32(0.3)
    length = np.float32(np.sqrt(1 - 0.3**2))
    across, along = np.abs(u), np.abs(v)
    return ((across <= arm) & (along <= length)) | ((along <= arm) & (across <= length))


def ring(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    radius = u * u + v * v
    return (radius <= 1.0) & (radius >= 0.3)


def bar(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (np.abs(u) <= 0.95) & (np.abs(v) <= 0.3)


SILHOUETTES: dict[str, Silhouette] = {
    "disc": disc,
    "square": square,
    "triangle": triangle,
    "cross": cross,
    "ring": ring,
    "bar": bar,
}
