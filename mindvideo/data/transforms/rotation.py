"""Turning a clip in its plane."""

from __future__ import annotations

import numpy as np

from mindvideo.data.media.warp import rotation_about_centre
from mindvideo.data.transforms.base import SameSize
from mindvideo.data.transforms.sample import ClipSample
from mindvideo.masks.extents import boxes_around


class Rotation(SameSize):
    """All frames by one angle of at most ``reach`` degrees either way, about their middle. Parameters: the degrees.

    Objects in a video turn farther than in the few frames of a training clip. Boxes are drawn anew around the masks;
    an instance that left the frame is absent.
    """

    def __init__(self, *, reach: float) -> None:
        self.reach = reach

    def draw(self, rng: np.random.Generator, size: tuple[int, int], num_frames: int) -> float:
        return float(rng.uniform(-self.reach, self.reach))

    def apply(self, clip: ClipSample, parameters: float) -> ClipSample:
        clip.frames.turn(parameters)
        clip.masks.warp(rotation_about_centre(parameters, clip.size)[:2])
        masks = clip.masks.pixels()
        seen = masks.any(axis=(2, 3))  # [N, T]
        clip.boxes = boxes_around(masks)
        clip.present = clip.present & seen
        return clip
