"""Tracks with their masks in a video of any length: what the trackers for such videos keep and show."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from mindvideo.inference.scoring.clip_prediction import segment_frame
from mindvideo.inference.trackers.lives import Life, LifeRules, Observation, TrackLives
from mindvideo.inference.trackers.tracker import MAX_ENDED_TRACKS
from mindvideo.masks.rle import has_pixels
from mindvideo.structures import Segmentation, VideoInstances


@dataclasses.dataclass(eq=False)
class _Track:
    """A track with its masks by the place of the frame, the oldest first, of the frames in which it is seen."""

    life: Life
    masks: dict[int, Segmentation] = dataclasses.field(default_factory=dict)

    def forget_before(self, frame: int) -> None:
        while self.masks and (oldest := next(iter(self.masks))) < frame:
            del self.masks[oldest]


class LivingTracks:
    """The tracks of one video of frames ``size`` (H, W). ``births``: how many have begun so far."""

    def __init__(self, rules: LifeRules, *, size: tuple[int, int], video_id: int | str) -> None:
        self.rules, self.size, self.video_id = rules, size, video_id
        self.lives = TrackLives(rules)
        self.births = self.num_frames = 0
        self.by_id: dict[int, _Track] = {}  # by track id

    def follow(
        self,
        seen: Observation,
        picture: np.ndarray,
        *,
        crop: Callable[[np.ndarray], np.ndarray] = lambda logits: logits,
    ) -> tuple[VideoInstances, np.ndarray]:
        """The next frame, ``picture`` as for TrackLives.follow -> what it shows, and idle queries, bool [Q].

        ``crop`` cuts a query's map to what lies over the frame, where the network saw more.
        """
        shown, ended, idle = self.lives.follow(seen, picture)
        rows = []
        for life, query, is_birth in shown:
            mask = segment_frame(crop(seen.mask_logits[query]), self.size)
            if is_birth:
                self.births += 1
                self.by_id[life.track_id] = _Track(life)
            track = self.by_id[life.track_id]
            if has_pixels(mask):
                track.masks[self.num_frames] = mask
                rows.append((track, [mask]))
        self.num_frames += 1
        self._forget(bool(ended))
        return self._instances(rows, 1), idle

    def result(self) -> VideoInstances:
        """The whole video; tracks without a pixel anywhere are left out."""
        places = range(self.num_frames)
        tracks = [track for track in self.by_id.values() if track.masks]
        return self._instances(
            [(track, [track.masks.get(place) for place in places]) for track in tracks], self.num_frames
        )

    def _forget(self, some_ended: bool) -> None:
        """Drop masks of long ago, and all but the best of the tracks that have ended."""
        for track in self.by_id.values():
            track.forget_before(self.num_frames - self.rules.kept_frames)
        if some_ended:
            alive = {life.track_id for life in self.lives.alive}
            ended = [number for number in self.by_id if number not in alive]
            ended.sort(key=lambda number: -self.by_id[number].life.evidence.score_and_label()[0])
            for number in ended[MAX_ENDED_TRACKS:]:
                del self.by_id[number]

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
