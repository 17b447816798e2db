"""Resizing and cropping. Each draws once per clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mindvideo.data.media.frame_size import short_side_size
from mindvideo.data.transforms.instances import zero_empty_boxes
from mindvideo.data.transforms.sample import ClipSample


class ResizeShortSide:
    """Shorter side to one of ``short_sides``, the longer at most ``max_long_side`` (0: any). Parameters: the side.

    Pictures bilinear with antialiasing, masks by nearest neighbour, boxes by the true ratios.
    """

    def __init__(self, *, short_sides: Sequence[int], max_long_side: int = 0) -> None:
        self.short_sides = tuple(short_sides)
        self.max_long_side = max_long_side

    def draw(self, rng: np.random.Generator, size: tuple[int, int], num_frames: int) -> int:
        return self.short_sides[int(rng.integers(len(self.short_sides)))]

    def output_size(self, size: tuple[int, int], parameters: int) -> tuple[int, int]:
        return short_side_size(size, short_side=parameters, long_side=self.max_long_side or None)

    def apply(self, clip: ClipSample, parameters: int) -> ClipSample:
        height, width = clip.size
        new_height, new_width = self.output_size(clip.size, parameters)
        clip.frames.resize(new_height, new_width)
        clip.masks.resize(new_height, new_width)
        ratio = [new_width / width, new_height / height] * 2
        clip.boxes = clip.boxes * np.array(ratio, np.float32)
        return clip


class RandomCrop:
    """A rectangle with sides between ``min_side`` and ``max_side`` pixels (or the frame's), anywhere in the frame.

    Parameters: (top, left, height, width). All instances are kept, those without a pixel left too; boxes are cut, and
    with ``zero_vanished`` those that lose their extent become zeros.
    """

    def __init__(self, *, min_side: int, max_side: int, zero_vanished: bool = False) -> None:
        self.min_side = min_side
        self.max_side = max_side
        self.zero_vanished = zero_vanished

    def draw(self, rng: np.random.Generator, size: tuple[int, int], num_frames: int) -> tuple[int, int, int, int]:
        height, width = (int(rng.integers(min(self.min_side, side), min(side, self.max_side) + 1)) for side in size)
        top = int(rng.integers(size[0] - height + 1))
        left = int(rng.integers(size[1] - width + 1))
        return top, left, height, width

    def output_size(self, size: tuple[int, int], parameters: tuple[int, int, int, int]) -> tuple[int, int]:
        return parameters[2], parameters[3]

    def apply(self, clip: ClipSample, parameters: tuple[int, int, int, int]) -> ClipSample:
        top, left, height, width = parameters
        clip.frames.crop(top, left, height, width)
        clip.masks.crop(top, left, height, width)
        moved: np.ndarray = clip.boxes - np.array([left, top, left, top], np.float32)
        clip.boxes = np.clip(moved, 0, np.array([width, height, width, height], np.float32))
        return zero_empty_boxes(clip) if self.zero_vanished else clip
