"""The one way in which every family takes frames and gives instances."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from mindvideo.structures import VideoInstances

# YouTube-VIS counts at most this many tracks a video; a long one would otherwise collect without end.
MAX_ENDED_TRACKS = 100


class VideoTracker(Protocol):
    """Frames of one video go in one by one; instances come out as soon as nothing later can change them.

    One call of ``begin`` a video, then ``feed`` for every frame, then ``finish``. A tracker can be used for any number
    of videos, one after the other; ``begin`` forgets the one before. Track ids count from 1.
    """

    def begin(self, *, size: tuple[int, int], num_frames: int | None, video_id: int | str) -> None:
        """Start a video of frames ``size`` (H, W). ``num_frames`` is a hint; None or wrong for streams."""

    def feed(self, frame: np.ndarray) -> list[VideoInstances]:
        """Take uint8 RGB [H, W, 3] in the original size.

        Returns the results of the frames that became final, in order, none left out, each with ``num_frames`` 1. They
        show what was known by then: scores and labels may still change in the result of the whole video.
        """

    def finish(self) -> VideoInstances:
        """End the video: the official result. Frames that ``feed`` has not returned yet are to be taken from it."""


def frame_of(video: VideoInstances, index: int) -> VideoInstances:
    """One frame of a video's result, without the tracks that have no mask in it."""
    rows = [row for row, frames in enumerate(video.segmentations) if frames[index] is not None]
    return dataclasses.replace(
        video,
        num_frames=1,
        scores=video.scores[rows],
        labels=video.labels[rows],
        track_ids=video.track_ids[rows],
        segmentations=[[video.segmentations[row][index]] for row in rows],
        boxes=None if video.boxes is None else video.boxes[rows, index : index + 1],
    )
