"""The tracker of online networks for videos of any length, in which objects come and go.

The published procedures fix their tracks by the first frames or by the whole video. Here a query becomes a track in the
frame in which it is sure, see :class:`~mindvideo.inference.trackers.lives.TrackLives`, and a query that shows nothing
begins anew in the next frame: what it carries was never trained to last for long, and fresh queries find what enters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import cv2
import numpy as np
from mindspore import Tensor

from mindvideo.inference.scoring.clip_prediction import crop_to_valid, require_finite, segment_frame
from mindvideo.inference.trackers.lives import Life, LifeRules, Observation, TrackLives
from mindvideo.masks.rle import has_pixels
from mindvideo.structures import Segmentation, VideoInstances
from mindvideo.structures.picture_size import picture_size

# YouTube-VIS counts at most this many tracks a video; a long one would otherwise collect without end.
MAX_ENDED_TRACKS = 100


class RenewableStep(Protocol):
    """One frame through an online network whose queries can begin anew one by one.

    A state is a NamedTuple of the family's own.
    """

    def initial_state(self) -> Any: ...

    def padded_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The height and width that the masks of a frame of that size cover: its own, or more where it is padded."""

    def observe(self, image: Tensor, state: Any) -> tuple[Observation, Any]:
        """``image`` uint8 [H, W, 3], as the network is to see it."""

    def renewed(self, state: Any, queries: np.ndarray) -> Any:
        """The state with ``queries``, bool [Q], as they are before the first frame of a video."""


@dataclasses.dataclass(eq=False)
class _Track:
    """A track with its masks by the place of the frame, the oldest first, of the frames in which it is seen."""

    life: Life
    masks: dict[int, Segmentation] = dataclasses.field(default_factory=dict)

    def forget_before(self, frame: int) -> None:
        while self.masks and (oldest := next(iter(self.masks))) < frame:
            del self.masks[oldest]


class AnyLengthTracker:
    """A :class:`VideoTracker` over a :class:`RenewableStep`.

    Every frame is final at once. ``resize`` gives a frame the size in which the network is to see it. ``births``: how
    many tracks have begun so far.
    """

    observer = None

    def __init__(self, *, step: RenewableStep, resize: Callable[[np.ndarray], np.ndarray], rules: LifeRules) -> None:
        self.step, self.resize, self.rules = step, resize, rules

    def begin(self, *, size: tuple[int, int], num_frames: int | None, video_id: int | str) -> None:  # noqa: ARG002
        self.size, self.video_id = size, video_id
        self.state = self.step.initial_state()
        self.lives = TrackLives(self.rules)
        self.tracks: dict[int, _Track] = {}  # by track id
        self.num_frames = 0
        self.births = 0

    def feed(self, frame: np.ndarray) -> list[VideoInstances]:
        if frame.shape[:2] != tuple(self.size):
            raise ValueError(f"AnyLengthTracker: the video began with frames of {self.size}, got {frame.shape[:2]}")
        image = np.ascontiguousarray(self.resize(frame))
        seen, state = self.step.observe(Tensor(image), self.state)
        require_finite(seen.probabilities)
        valid = picture_size(image)
        padded = self.step.padded_size(valid)
        shown, ended, idle = self.lives.follow(seen, _at_resolution_of_masks(image, padded, seen.mask_logits))
        self.state = self.step.renewed(state, idle) if idle.any() else state
        rows = []
        for life, query, is_birth in shown:
            logits = seen.mask_logits[query]
            inside = logits if padded == valid else crop_to_valid(logits, padded=padded, valid=valid)
            mask = segment_frame(inside, self.size)
            if is_birth:
                self.births += 1
                self.tracks[life.track_id] = _Track(life)
            track = self.tracks[life.track_id]
            if has_pixels(mask):
                track.masks[self.num_frames] = mask
                rows.append((track, [mask]))
        self.num_frames += 1
        self._forget(bool(ended))
        return [self._instances(rows, 1)]

    def finish(self) -> VideoInstances:
        """The whole video; tracks without a pixel anywhere are left out."""
        places = range(self.num_frames)
        tracks = [track for track in self.tracks.values() if track.masks]
        return self._instances(
            [(track, [track.masks.get(place) for place in places]) for track in tracks], self.num_frames
        )

    def _forget(self, some_ended: bool) -> None:
        """Drop masks of long ago, and all but the best of the tracks that have ended."""
        for track in self.tracks.values():
            track.forget_before(self.num_frames - self.rules.kept_frames)
        if some_ended:
            alive = {life.track_id for life in self.lives.alive}
            ended = [number for number in self.tracks if number not in alive]
            ended.sort(key=lambda number: -self.tracks[number].life.evidence.score_and_label()[0])
            for number in ended[MAX_ENDED_TRACKS:]:
                del self.tracks[number]

    def _instances(self, rows: list[tuple[_Track, list]], num_frames: int) -> VideoInstances:
        found = [track.life.evidence.score_and_label() for track, _ in rows]
        return VideoInstances(
            video_id=self.video_id,
            size=self.size,
            num_frames=num_frames,
            scores=np.array([score for score, _ in found], np.float32),
            labels=np.array([label for _, label in found], np.int64),
            track_ids=np.array([track.life.track_id for track, _ in rows], np.int64),
            segmentations=[masks for _, masks in rows],
        )


def _at_resolution_of_masks(image: np.ndarray, padded: tuple[int, int], mask_logits: np.ndarray) -> np.ndarray:
    """The frame uint8 [H, W, 3], padded as its masks [Q, h, w] are -> [h, w, 3]."""
    (H, W), valid = padded, image.shape[:2]
    whole = np.pad(image, ((0, H - valid[0]), (0, W - valid[1]), (0, 0))) if padded != valid else image
    return cv2.resize(whole, mask_logits.shape[:0:-1], interpolation=cv2.INTER_AREA)
