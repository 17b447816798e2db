"""Clips: one frame, the targets of a clip, and a padded batch of clips as the loader yields it."""

from __future__ import annotations

import dataclasses

import numpy as np

from mindvideo.structures.expect import expect_array


@dataclasses.dataclass(frozen=True)
class Frame:
    """One picture of a video.

    ``image`` uint8 [H, W, 3] in RGB; ``index`` its place in the video; ``source`` the file it is from.
    """

    image: np.ndarray
    index: int
    source: str

    def __post_init__(self) -> None:
        expect_array("Frame", "image", self.image, shape=("H", "W", 3), dtype=np.uint8)
        if self.image.size == 0:
            raise ValueError(f"Frame.image: {self.source} has no pixels, shape {list(self.image.shape)}")
        if self.index < 0:
            raise ValueError(f"Frame.index: expected 0 or more, got {self.index}")

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.image.shape[0], self.image.shape[1]


@dataclasses.dataclass(frozen=True)
class ClipTargets:
    """The annotated instances of one clip of T frames, N of them.

    ``labels`` int32 [N], the category id of each instance. ``boxes`` float32 [N, T, 4]; in pixels as x0 y0 x1 y1 before
    the last transform, as cx cy w h in units of the frame after it. ``masks`` bool [N, T, H, W]. ``present`` bool
    [N, T]: the annotation has a box in that frame. ``video_id`` and ``frame_indices`` [T] say where the clip is from.
    """

    labels: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray
    present: np.ndarray
    video_id: int
    frame_indices: tuple[int, ...]

    def __post_init__(self) -> None:
        owner = "ClipTargets"
        T = len(self.frame_indices)
        N = len(expect_array(owner, "labels", self.labels, shape=("N",), dtype=np.integer))
        expect_array(owner, "boxes", self.boxes, shape=(N, T, 4), dtype=np.float32)
        expect_array(owner, "masks", self.masks, shape=(N, T, "H", "W"), dtype=np.bool_)
        expect_array(owner, "present", self.present, shape=(N, T), dtype=np.bool_)

    def __len__(self) -> int:
        return len(self.labels)


def sampled_length(length: int, stride: int) -> int:
    """How many of ``length`` rows or columns a mask stride takes: those at stride // 2, stride // 2 + stride, ..."""
    return len(range(stride // 2, length, stride))


# The order in which the loader yields the arrays of a batch. The training network takes all but the last.
CLIP_BATCH_COLUMNS = ("images", "sizes", "labels", "boxes", "masks", "present", "exists", "clip_ids")


@dataclasses.dataclass(frozen=True)
class ClipBatch:
    """B clips of T frames, padded to one size H x W and to N instances.

    ``images`` uint8 [B, T, H, W, 3], zero right of and below the valid area. ``sizes`` int32 [B, 2]: valid (h, w).
    ``labels`` int32 [B, N], 0 where padded. ``boxes`` float32 [B, N, T, 4]: cx cy w h in units of the valid area.
    ``masks`` uint8 [B, N, T, H / s, W / s], for the family's mask stride s (1 where every pixel is compared): of rows
    and columns the pixels s // 2, s // 2 + s, ... ``present`` bool [B, N, T]. ``exists`` bool [B, N]: the row is an
    instance, not padding. ``clip_ids`` int64 [B, 2]: (video id, key frame), to name a clip in a message.
    """

    images: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray
    present: np.ndarray
    exists: np.ndarray
    clip_ids: np.ndarray

    def __post_init__(self) -> None:
        owner = "ClipBatch"
        expect_array(owner, "images", self.images, shape=("B", "T", "H", "W", 3), dtype=np.uint8)
        B, T, H, W, _ = self.images.shape
        expect_array(owner, "sizes", self.sizes, shape=(B, 2), dtype=np.integer)
        expect_array(owner, "labels", self.labels, shape=(B, "N"), dtype=np.integer)
        N = self.labels.shape[1]
        expect_array(owner, "boxes", self.boxes, shape=(B, N, T, 4), dtype=np.float32)
        # The stride is not told: it is the one that would give this height.
        stride = max(1, round(H / max(1, np.shape(self.masks)[3]))) if np.ndim(self.masks) == 5 else 1
        mask_shape = (B, N, T, sampled_length(H, stride), sampled_length(W, stride))
        expect_array(owner, "masks", self.masks, shape=mask_shape, dtype=np.uint8)
        expect_array(owner, "present", self.present, shape=(B, N, T), dtype=np.bool_)
        expect_array(owner, "exists", self.exists, shape=(B, N), dtype=np.bool_)
        expect_array(owner, "clip_ids", self.clip_ids, shape=(B, 2), dtype=np.integer)
        if B and ((self.sizes < 1).any() or (self.sizes > (H, W)).any()):
            raise ValueError(f"{owner}.sizes: expected between (1, 1) and ({H}, {W}), got {self.sizes.tolist()}")

    def columns(self) -> tuple[np.ndarray, ...]:
        """The arrays in the order of ``CLIP_BATCH_COLUMNS``."""
        return tuple(getattr(self, name) for name in CLIP_BATCH_COLUMNS)
