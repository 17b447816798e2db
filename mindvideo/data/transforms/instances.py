"""Drops or zeroes the instances that a crop or the choice of frames left without pixels. Draws nothing."""

from __future__ import annotations

import numpy as np

from mindvideo.data.transforms.base import SameSize
from mindvideo.data.transforms.sample import ClipSample


def boxes_with_extent(clip: ClipSample) -> np.ndarray:
    """bool [N, T]: whether the box has a width and a height."""
    return (clip.boxes[..., 2:] > clip.boxes[..., :2]).all(axis=-1)


def zero_empty_boxes(clip: ClipSample) -> ClipSample:
    clip.boxes = clip.boxes * boxes_with_extent(clip)[..., None].astype(np.float32)
    return clip


class DropVanished(SameSize):
    """Drop the instances whose box has no extent in any frame; zero the boxes without extent of the others."""

    def draw(self, rng: np.random.Generator, size: tuple[int, int], num_frames: int) -> None:
        return None

    def apply(self, clip: ClipSample, parameters: None = None) -> ClipSample:
        return zero_empty_boxes(clip).keep_instances(boxes_with_extent(clip).any(axis=1))


class DropMaskless(SameSize):
    """Drop the instances without a pixel in the clip, and zero the boxes of the frames where the mask is empty."""

    def draw(self, rng: np.random.Generator, size: tuple[int, int], num_frames: int) -> None:
        return None

    def apply(self, clip: ClipSample, parameters: None = None) -> ClipSample:
        seen = clip.masks.pixels().any(axis=(2, 3))  # [N, T]
        clip.boxes = clip.boxes * seen[..., None].astype(np.float32)
        clip.present = clip.present & seen
        return clip.keep_instances(seen.any(axis=1))


class ZeroMaskless(SameSize):
    """Zero the boxes of the frames where an instance has no pixel; keep every instance."""

    def draw(self, rng: np.random.Generator, size: tuple[int, int], num_frames: int) -> None:
        return None

    def apply(self, clip: ClipSample, parameters: None = None) -> ClipSample:
        seen = clip.masks.pixels().any(axis=(2, 3))  # [N, T]
        clip.boxes = clip.boxes * seen[..., None].astype(np.float32)
        return clip
