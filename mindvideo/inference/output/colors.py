"""Colours of tracks: the same id always gets the same colour, and the first ids are far apart to the eye."""

from __future__ import annotations

import functools
import itertools

import cv2
import numpy as np

PALETTE_LENGTH = 48
_STEPS = (30, 75, 120, 165, 210, 250)
_LIGHTNESS = (35.0, 88.0)  # readable both on dark and on bright pictures
_MIN_CHROMA = 35.0  # greys are what pictures are made of
_FIRST = (250, 75, 75)


def track_color(track_id: int) -> tuple[int, int, int]:
    """RGB of a track."""
    return palette()[track_id % PALETTE_LENGTH]


@functools.cache
def palette() -> tuple[tuple[int, int, int], ...]:
    """Greedily, the candidate farthest in CIELAB from all colours chosen before it."""
    candidates = np.array(list(itertools.product(_STEPS, repeat=3)), np.uint8)
    lab = to_lab(candidates)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    usable = (lab[:, 0] > _LIGHTNESS[0]) & (lab[:, 0] < _LIGHTNESS[1]) & (chroma > _MIN_CHROMA)
    candidates, lab = candidates[usable], lab[usable]
    chosen = [int(np.flatnonzero((candidates == _FIRST).all(axis=1))[0])]
    distance = np.full(len(candidates), np.inf)
    while len(chosen) < PALETTE_LENGTH:
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
        chosen.append(int(distance.argmax()))
    return tuple((int(red), int(green), int(blue)) for red, green, blue in candidates[chosen])


def to_lab(colors: np.ndarray) -> np.ndarray:
    """RGB uint8 [n, 3] -> CIELAB float32 [n, 3]."""
    scaled = colors.astype(np.float32)[None] / 255.0
    return cv2.cvtColor(scaled, cv2.COLOR_RGB2LAB)[0]
