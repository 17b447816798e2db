"""Cuts between scenes: found by their colours, and every track ends there.

A tracker that carries what it saw across a cut goes on with objects that are gone. :class:`SceneTracker` wraps any
tracker and starts it anew at each cut; to everyone else the video is one.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np

from mindvideo.inference.trackers.colours import colour_numbers, shares_of_colours
from mindvideo.inference.trackers.tracker import MAX_ENDED_TRACKS, VideoTracker, frame_of
from mindvideo.structures import VideoInstances

# Both must be exceeded. On made-up videos and on film the changes inside a scene stay below 0.19 and 0.10, those of
# cuts lie above 0.24 and 0.15 (tests/inference/test_scenes.py measures the made-up ones).
MIN_COLOUR_CHANGE = 0.21  # share of the pixels whose colour is another one, see colours.py
MIN_LAYOUT_CHANGE = 0.125  # mean difference of a coarse picture, in units of the brightest value
HISTOGRAM_SIZE, LAYOUT_SIZE = (64, 48), (16, 12)  # width, height


class CutDetector:
    """Told the frames of a video in order, says for each whether a new scene begins with it."""

    def __init__(self) -> None:
        self._before: tuple[np.ndarray, np.ndarray] | None = None

    def is_cut(self, frame: np.ndarray) -> bool:
        """``frame`` uint8 RGB [H, W, 3]; never True for the first one."""
        before, self._before = self._before, (colour_histogram(frame), coarse_picture(frame))
        if before is None:
            return False
        colour = 1.0 - np.minimum(before[0], self._before[0]).sum()
        layout = np.abs(before[1] - self._before[1]).mean()
        return bool(colour > MIN_COLOUR_CHANGE and layout > MIN_LAYOUT_CHANGE)


def colour_histogram(frame: np.ndarray) -> np.ndarray:
    """Shares of colours among the pixels, float [COARSE ** 3]."""
    small = cv2.resize(frame, HISTOGRAM_SIZE, interpolation=cv2.INTER_AREA)
    return shares_of_colours(colour_numbers(small))


def coarse_picture(frame: np.ndarray) -> np.ndarray:
    """The frame at a few pixels, float [h, w, 3] in 0..1."""
    return cv2.resize(frame, LAYOUT_SIZE, interpolation=cv2.INTER_AREA) / 255.0


@dataclasses.dataclass(frozen=True)
class _EndedTrack:
    """A track of an earlier scene: its first frame in the video, and what the scene's result says of it."""

    start: int
    track_id: int
    score: float
    label: int
    segmentations: list
    boxes: np.ndarray | None


class SceneTracker:
    """A :class:`VideoTracker` over another one, which begins anew with every scene. ``cuts``: where scenes began."""

    def __init__(self, tracker: VideoTracker) -> None:
        self.tracker = tracker
        self.cuts: list[int] = []

    def __getattr__(self, name: str) -> Any:
        """Everything that a tracker offers besides following videos, such as its export, is the inner one's."""
        if name == "tracker":
            raise AttributeError(name)
        return getattr(self.tracker, name)

    def begin(self, *, size: tuple[int, int], num_frames: int | None, video_id: int | str) -> None:
        self._size, self._video_id = size, video_id
        self._detector = CutDetector()
        self.cuts = []
        self._fed = 0  # frames of the video
        self._ended: list[_EndedTrack] = []
        self._last_id = 0
        self._begin_scene(num_frames)

    def feed(self, frame: np.ndarray) -> list[VideoInstances]:
        shown = []
        if self._detector.is_cut(frame):
            shown = self._end_scene()
            self.cuts.append(self._fed)
            self._begin_scene(None)
        self._fed += 1
        return shown + [self._numbered(each) for each in self._count(self.tracker.feed(frame))]

    def finish(self) -> VideoInstances:
        last = self._numbered(self.tracker.finish())
        if not self._ended and not self._start:
            return last
        ended = [self._in_video(track) for track in [*self._ended, *self._tracks_of(last)]]
        boxes = [track.boxes for track in ended if track.boxes is not None]
        return VideoInstances(
            video_id=self._video_id,
            size=self._size,
            num_frames=self._fed,
            scores=np.array([track.score for track in ended], np.float32),
            labels=np.array([track.label for track in ended], np.int64),
            track_ids=np.array([track.track_id for track in ended], np.int64),
            segmentations=[track.segmentations for track in ended],
            boxes=np.stack(boxes) if ended and len(boxes) == len(ended) else None,
        )

    def _begin_scene(self, num_frames: int | None) -> None:
        self._start, self._shown = self._fed, 0
        self._ids_before = self._last_id  # a tracker counts its tracks from 1
        self.tracker.begin(size=self._size, num_frames=num_frames, video_id=self._video_id)

    def _count(self, results: list[VideoInstances]) -> list[VideoInstances]:
        self._shown += len(results)
        return results

    def _end_scene(self) -> list[VideoInstances]:
        """The frames of the scene that were not told yet; its tracks are kept."""
        result = self._numbered(self.tracker.finish())
        self._ended += self._tracks_of(result)
        best = sorted(self._ended, key=lambda track: -track.score)[:MAX_ENDED_TRACKS]
        self._ended = sorted(best, key=lambda track: track.track_id)
        return [frame_of(result, index) for index in range(self._shown, self._fed - self._start)]

    def _numbered(self, result: VideoInstances) -> VideoInstances:
        """Track ids that no earlier scene has used."""
        ids = result.track_ids + self._ids_before
        self._last_id = max(self._last_id, int(ids.max(initial=0)))
        return dataclasses.replace(result, track_ids=ids)

    def _tracks_of(self, result: VideoInstances) -> list[_EndedTrack]:
        return [
            _EndedTrack(
                start=self._start,
                track_id=int(result.track_ids[row]),
                score=float(result.scores[row]),
                label=int(result.labels[row]),
                segmentations=result.segmentations[row],
                boxes=None if result.boxes is None else result.boxes[row],
            )
            for row in range(len(result))
        ]

    def _in_video(self, track: _EndedTrack) -> _EndedTrack:
        """Its masks and boxes for every frame of the video; none outside its scene."""
        after = self._fed - track.start - len(track.segmentations)
        boxes = None if track.boxes is None else np.pad(track.boxes, ((track.start, after), (0, 0)))
        masks = [None] * track.start + track.segmentations + [None] * after
        return dataclasses.replace(track, segmentations=masks, boxes=boxes)
