"""Mirroring in space and time. Each draws once per clip. Parameters: True to do it."""

from __future__ import annotations

import numpy as np

from mindvideo.data.transforms.base import SameSize
from mindvideo.data.transforms.sample import ClipSample


class _NowAndThen(SameSize):
    """Done to the whole clip with the given probability."""

    def __init__(self, *, probability: float = 0.5) -> None:
        self.probability = probability

    def draw(self, rng: np.random.Generator, size: tuple[int, int], num_frames: int) -> bool:
        return bool(rng.random() < self.probability)


class HorizontalFlip(_NowAndThen):
    """Mirror left and right with the given probability."""

    def apply(self, clip: ClipSample, parameters: bool) -> ClipSample:
        if not parameters:
            return clip
        width = clip.size[1]
        clip.frames.mirror()
        clip.masks.mirror()
        # PARITY(vistr, instanceformer): boxes of absent frames are mirrored too, so (0, 0, 0, 0) becomes (w, 0, w, 0).
        left = width - clip.boxes[..., 2]
        right = width - clip.boxes[..., 0]
        clip.boxes = np.stack([left, clip.boxes[..., 1], right, clip.boxes[..., 3]], axis=-1)
        return clip


class TimeReversal(_NowAndThen):
    """Play the clip backwards with the given probability."""

    def apply(self, clip: ClipSample, parameters: bool) -> ClipSample:
        if not parameters:
            return clip
        clip.frames.reverse()
        clip.masks.reverse()
        clip.boxes = clip.boxes[:, ::-1]
        clip.present = clip.present[:, ::-1]
        clip.frame_indices = clip.frame_indices[::-1]
        return clip
