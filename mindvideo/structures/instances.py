"""The one result type: every model gives it, and evaluation, drawing and files take it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from pycocotools import mask as coco_mask

from mindvideo.files import write_json
from mindvideo.structures.expect import expect_array

_MAX_SHOWN = 5  # tracks in the one line of a repr


class Segmentation(TypedDict):
    """A COCO run-length encoded mask: ``size`` is [H, W], ``counts`` the compressed string."""

    size: list[int]
    counts: str


@dataclasses.dataclass(frozen=True, repr=False)
class VideoInstances:
    """N tracks through ``num_frames`` (T) frames of one video.

    ``video_id`` int or string; ``size`` (H, W) of the frames; ``scores`` float32 [N]; ``labels`` int [N], category ids;
    ``track_ids`` int [N], all different, from 1 on; ``segmentations``: for each track T entries, a COCO RLE with its
    counts as a string, or None where the track has no mask; ``boxes`` float32 [N, T, 4] as x0 y0 x1 y1 in pixels, or
    None.
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
                raise TypeError(f"{owner}, frame {index}: RLE counts must be text, got {kind}")

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        H, W = self.size
        found = ", ".join(
            f"#{track} class {label} {score:.2f}"
            for track, label, score in list(zip(self.track_ids.tolist(), self.labels, self.scores))[:_MAX_SHOWN]
        )
        more = ", ..." if len(self) > _MAX_SHOWN else ""
        tracks = f"{len(self)} track{'' if len(self) == 1 else 's'}"
        frames = f"{self.num_frames} frame{'' if self.num_frames == 1 else 's'}"
        return f"VideoInstances(video {self.video_id!r}, {frames} of {H}x{W}, {tracks}: [{found}{more}])"

    def masks(self, frame: int | None = None) -> np.ndarray:
        """Masks of all tracks, empty where a track has none: bool [N, H, W] of one frame, [N, T, H, W] of all."""
        chosen = range(self.num_frames) if frame is None else [frame]
        masks = np.zeros((len(self), len(chosen), *self.size), bool)
        for row, segmentations in enumerate(self.segmentations):
            for place, index in enumerate(chosen):
                if segmentations[index] is not None:
                    masks[row, place] = coco_mask.decode(segmentations[index])
        return masks if frame is None else masks[:, 0]

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

    def save(self, path: str | Path) -> None:
        """Write a ``results.json`` of this video, whole or not at all; ``mindvideo.load_results`` reads it."""
        write_json(path, self.to_results(), indent=None)

    @classmethod
    def nothing(cls, *, video_id: int | str, size: Sequence[int], num_frames: int) -> VideoInstances:
        """A video in which there is no track."""
        no_tracks = np.zeros(0, np.int64)
        return cls(
            video_id=video_id,
            size=(int(size[0]), int(size[1])),
            num_frames=num_frames,
            scores=np.zeros(0, np.float32),
            labels=no_tracks,
            track_ids=no_tracks,
            segmentations=[],
        )

    @classmethod
    def from_results(
        cls,
        records: Sequence[Mapping[str, Any]],
        *,
        size: Sequence[int] | None = None,
        track_ids: Sequence[int] | None = None,
    ) -> VideoInstances:
        """The other way: records of one video, as ``to_results`` gives them.

        ``size`` (H, W) is read from the masks when it is not given. ``track_ids`` are 1, 2, ... when not given.
        """
        if not records:
            raise ValueError("VideoInstances.from_results: no records, so size and length of the video are unknown")
        lengths = {len(record["segmentations"]) for record in records}
        videos = {record["video_id"] for record in records}
        if len(videos) > 1 or len(lengths) > 1:
            raise ValueError(
                f"VideoInstances.from_results: expected the records of one video, got videos {sorted(videos, key=str)} "
                f"with {sorted(lengths)} frames"
            )
        if size is None:
            masks = (mask for record in records for mask in record["segmentations"] if mask is not None)
            first = next(masks, None)
            if first is None:
                raise ValueError("VideoInstances.from_results: no record has a mask; give the size of the frames")
            size = first["size"]
        return cls(
            video_id=videos.pop(),
            size=(int(size[0]), int(size[1])),
            num_frames=lengths.pop(),
            scores=np.array([record["score"] for record in records], np.float32),
            labels=np.array([record["category_id"] for record in records], np.int64),
            track_ids=np.arange(1, len(records) + 1) if track_ids is None else np.asarray(track_ids, np.int64),
            segmentations=[list(record["segmentations"]) for record in records],
        )
