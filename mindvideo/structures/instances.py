"""The one result type: every model gives it, and evaluation, drawing and files take it."""

from __future__ import annotations

import dataclasses
from typing import TypedDict

import numpy as np

from mindvideo.structures.expect import expect_array


class Segmentation(TypedDict):
    """A COCO run-length encoded mask: ``size`` is [H, W], ``counts`` the compressed string."""

    size: list[int]
    counts: str


@dataclasses.dataclass(frozen=True)
class VideoInstances:
    """N tracks through ``num_frames`` (T) frames of one video.

    ``video_id`` int or string; ``size`` (H, W) of the frames; ``scores`` float32 [N]; ``labels`` int [N], category ids;
    ``track_ids`` int [N], all different; ``segmentations``: for each track T entries, a COCO RLE with string counts or
    None where the track has no mask; ``boxes`` float32 [N, T, 4] as x0 y0 x1 y1 in pixels, or None.
    """

    video_id: int | str
    size: tuple[int, int]
    num_frames: int
    scores: np.ndarray
    labels: np.ndarray
    track_ids: np.ndarray
    segmentations: list[list[Segmentation | None]]
    boxes: np.ndarray | None = None

    def __post_init__(self) -> None:
        owner = f"VideoInstances of video {self.video_id}"
        N = len(expect_array(owner, "scores", self.scores, shape=("N",), dtype=np.floating))
        expect_array(owner, "labels", self.labels, shape=(N,), dtype=np.integer)
        expect_array(owner, "track_ids", self.track_ids, shape=(N,), dtype=np.integer)
        if len(set(self.track_ids.tolist())) != N:
            raise ValueError(f"{owner}: track ids must differ, got {self.track_ids.tolist()}")
        if not np.isfinite(self.scores).all():
            raise ValueError(f"{owner}: scores must be finite, got {self.scores.tolist()}")
        if len(self.segmentations) != N:
            raise ValueError(f"{owner}: expected segmentations of {N} tracks, got {len(self.segmentations)}")
        if self.boxes is not None:
            expect_array(owner, "boxes", self.boxes, shape=(N, self.num_frames, 4), dtype=np.floating)
        for track, frames in zip(self.track_ids.tolist(), self.segmentations):
            self._check_track(f"{owner}, track {track}", frames)

    def _check_track(self, owner: str, frames: list[Segmentation | None]) -> None:
        if len(frames) != self.num_frames:
            raise ValueError(f"{owner}: expected {self.num_frames} frames, got {len(frames)}")
        for index, segmentation in enumerate(frames):
            if segmentation is None:
                continue
            if tuple(segmentation["size"]) != tuple(self.size):
                raise ValueError(
                    f"{owner}, frame {index}: expected a mask of {tuple(self.size)}, got {tuple(segmentation['size'])}"
                )
            if not isinstance(segmentation["counts"], str):
                kind = type(segmentation["counts"]).__name__
                raise TypeError(f"{owner}, frame {index}: RLE counts must be a string, got {kind}")

    def __len__(self) -> int:
        return len(self.scores)

    def to_results(self) -> list[dict]:
        """Records of a YouTube-VIS ``results.json``, one a track, in the order of the tracks."""
        return [
            {
                "video_id": self.video_id,
                "score": float(score),
                "category_id": int(label),
                "segmentations": frames,
            }
            for score, label, frames in zip(self.scores, self.labels, self.segmentations)
        ]
