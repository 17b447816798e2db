"""Simple changes of colour that hold for the whole clip. Each draws once per clip."""

from __future__ import annotations

import numpy as np

from mindvideo.data.transforms.base import SameSize
from mindvideo.data.transforms.sample import ClipSample


class ChannelPermutation(SameSize):
    """One of the six orders of the three channels. Parameters: the order."""

    def draw(self, rng: np.random.Generator, size: tuple[int, int], num_frames: int) -> list[int]:
        return rng.permutation(3).tolist()

    def apply(self, clip: ClipSample, parameters: list[int]) -> ClipSample:
        clip.frames.change_pixels([lambda frame: frame[..., parameters]] * clip.num_frames)
        return clip


class Brightness(SameSize):
    """Every value times a factor between 1 - ``reach`` and 1 + ``reach``. Parameters: the factor."""

    def __init__(self, *, reach: float) -> None:
        self.reach = reach

    def draw(self, rng: np.random.Generator, size: tuple[int, int], num_frames: int) -> float:
        return float(rng.uniform(1 - self.reach, 1 + self.reach))

    def apply(self, clip: ClipSample, parameters: float) -> ClipSample:
        table = np.clip(np.rint(np.arange(256) * parameters), 0, 255).astype(np.uint8)
        clip.frames.change_pixels([lambda frame: table[frame]] * clip.num_frames)
        return clip
