"""One training clip on its way from the files to a batch: frames and targets in pixels of the current frame size."""

from __future__ import annotations

import dataclasses

import numpy as np

from mindvideo.data.media.lazy import ClipFrames
from mindvideo.masks.lazy import ClipMasks


@dataclasses.dataclass
class ClipSample:
    """T frames and N instances. Transforms change it in place and return it.

    ``frames`` and ``masks`` hold pixels that are computed when asked for: ``frames.pixels()`` uint8 [T, H, W, 3] RGB,
    ``masks.pixels()`` uint8 [N, T, H, W] of 0 and 1. ``labels`` int32 [N] category ids · ``boxes`` f32 [N, T, 4] xyxy
    in pixels, zeros where absent · ``present`` bool [N, T] the annotation has a box in that frame · ``video_id`` ·
    ``frame_indices`` int64 [T] positions in the video · ``key_frame`` the frame that the sample stands for.
    """

    frames: ClipFrames
    labels: np.ndarray
    boxes: np.ndarray
    masks: ClipMasks
    present: np.ndarray
    video_id: int
    frame_indices: np.ndarray
    key_frame: int

    @property
    def num_frames(self) -> int:
        return len(self.frames)

    @property
    def num_instances(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the frames."""
        return self.frames.size

    def keep_instances(self, kept: np.ndarray) -> ClipSample:
        """Keep the instances selected by a bool [N] or an index array, with all their frames."""
        self.labels = self.labels[kept]
        self.boxes = self.boxes[kept]
        self.masks.keep(kept)
        self.present = self.present[kept]
        return self
