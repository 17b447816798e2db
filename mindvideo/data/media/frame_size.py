"""Sizes of frames by the rule of the originals: a given short side, unless the long side would exceed its limit."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from PIL import Image

from mindvideo.errors import UserError
from mindvideo.structures.picture_size import picture_size


def short_side_size(size: tuple[int, int], *, short_side: int, long_side: int | None = None) -> tuple[int, int]:
    """(H, W) -> (h, w) with the given short side, or a smaller one when the long side would pass ``long_side``.

    Truncated and rounded as DETR does, so that published weights see the sizes they were trained with.
    """
    short, long = min(size), max(size)
    if long_side is not None and long / short * short_side > long_side:
        short_side = round(long_side * short / long)
    if short == short_side:
        return size
    H, W = size
    scaled = int(short_side * long / short)
    return (short_side, scaled) if H <= W else (scaled, short_side)


def parse_size(string: str) -> tuple[int, int]:
    """``640x360`` -> (360, 640)."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", string)
    if match is None:
        raise UserError(f"size '{string}': expected WIDTHxHEIGHT, for instance 640x360")
    return int(match[2]), int(match[1])


def resize_frame(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 3] -> uint8 [h, w, 3], Pillow's bilinear filter (antialiased), as the originals resize."""
    if frame.shape[:2] == tuple(size):
        return frame
    H, W = size
    return np.asarray(Image.fromarray(frame).resize((W, H), Image.Resampling.BILINEAR))


def size_after(resize: Callable[[np.ndarray], object], size: tuple[int, int]) -> tuple[int, int]:
    """(H, W) after ``resize``, as its ``size_for`` tells; ``size`` where it does not tell."""
    size_for = getattr(resize, "size_for", None)
    return size if size_for is None else size_for(size)


class ShortSideResize:
    """Resizes frames to the size in which a network sees them; ``short_side`` None leaves them as they are.

    ``multiple``: then both sides are rounded to a multiple of it, so that many sizes of pictures make few of graphs.
    """

    def __init__(self, *, short_side: int | None, long_side: int | None = None, multiple: int = 1) -> None:
        self._short_side = short_side
        self._long_side = long_side
        self._multiple = multiple

    def size_for(self, size: tuple[int, int]) -> tuple[int, int]:
        if self._short_side is not None:
            size = short_side_size(size, short_side=self._short_side, long_side=self._long_side)
        step = self._multiple
        H, W = (max(round(side / step), 1) * step for side in size)
        return H, W

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        return resize_frame(frame, self.size_for(picture_size(frame)))
