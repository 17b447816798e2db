"""Families that look at T frames at once, as published: on longer videos, windows whose tracks are linked.

A video of at most one window has exactly the result of the original procedure. Tracks begin and end with windows; those
of :class:`~mindvideo.inference.trackers.any_length_windows.AnyLengthWindows` do so in any frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from mindvideo.data.media.frame_size import size_after
from mindvideo.inference.export import ExportPlan
from mindvideo.inference.scoring.clip_prediction import ClipRunner, segment_frame
from mindvideo.inference.scoring.track_scores import Entry, ScoreRule, TrackScores
from mindvideo.inference.trackers.any_length_windows import AnyLengthWindows
from mindvideo.inference.trackers.linking import Linking, OverlapLinking
from mindvideo.inference.trackers.lives import LifeRules
from mindvideo.inference.trackers.sliding_windows import Reading, SlidingWindows
from mindvideo.inference.trackers.tracker import MAX_ENDED_TRACKS
from mindvideo.masks.rle import has_pixels
from mindvideo.structures import Segmentation, VideoInstances


@dataclasses.dataclass
class _Track:
    """One instance so far: consecutive frames from ``start`` on, with a mask each, and what they say of its class."""

    start: int
    scores: TrackScores
    segmentations: list[Segmentation | None] = dataclasses.field(default_factory=list)
    visible: bool = False  # some frame has a pixel
    # Track ids by category (None where a track is one record), given when the track is first shown.
    ids: dict[int | None, int] = dataclasses.field(default_factory=dict)

    def in_frame(self, index: int) -> Segmentation | None:
        place = index - self.start
        return self.segmentations[place] if 0 <= place < len(self.segmentations) else None


class WindowObserver(Protocol):
    """Is told of each video, and by the linking of each window."""

    def begin(self, *, video_id: int | str) -> None: ...

    def finish(self, ids: Mapping[int, int]) -> None:
        """``ids``: the linking's number of a track -> its id in the result."""


class WindowTracker:
    """A :class:`~mindvideo.inference.trackers.tracker.VideoTracker` over a clip network.

    ``prepare`` turns each frame, uint8 [H, W, 3], into what ``runner`` wants to see of it; that takes ``num_frames`` of
    them. A shorter video is repeated (``repeat_short``) or shown as it is. ``rule``: how scores and categories follow.
    ``overlap``: share of a window that the next one sees again. ``linking``: how tracks go on from window to window.
    ``rules``: for videos of any length. ``observer``: told when a video begins and ends, for analysis.
    """

    def __init__(
        self,
        *,
        runner: ClipRunner,
        num_frames: int,
        prepare: Callable[[np.ndarray], Any],
        rule: ScoreRule,
        repeat_short: bool = True,
        overlap: float = 1 / 3,
        linking: Linking | None = None,
        rules: LifeRules | None = None,
        observer: WindowObserver | None = None,
    ) -> None:
        self.windows = SlidingWindows(runner=runner, num_frames=num_frames, overlap=overlap, repeat_short=repeat_short)
        self._linking = OverlapLinking() if linking is None else linking
        self.prepare, self._rule = prepare, rule
        self.rules = LifeRules() if rules is None else rules
        self.observer = observer

    def of_any_length(self) -> AnyLengthWindows:
        """The tracker of the same network for videos in which objects come and go."""
        return AnyLengthWindows(windows=self.windows, prepare=self.prepare, rules=self.rules)

    def export_plan(self, *, size: tuple[int, int]) -> ExportPlan:
        """The plan of an export: the clip network, for frames of ``size`` (H, W)."""
        return self.windows.runner.export_plan(num_frames=self.windows.num_frames, size=size)

    def seen_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size in which the network sees frames of ``size`` (H, W)."""
        return size_after(self.prepare, size)

    def begin(self, *, size: tuple[int, int], num_frames: int | None, video_id: int | str) -> None:
        self._size = size
        self._video_id = video_id
        self.windows.begin()
        self._linking.begin()
        self._decided = 0  # frames whose masks are read
        if self.observer is not None:
            self.observer.begin(video_id=video_id)
        self._tracks: dict[int, _Track] = {}  # those of the latest window, by the number that the linking gave them
        self._track_of_query: dict[int, _Track] = {}
        self._resting: dict[int, _Track] = {}  # those that the latest window has lost, the longest lost first
        self._next_id = 1

    def feed(self, frame: np.ndarray) -> list[VideoInstances]:
        reading = self.windows.feed(self.prepare(frame))
        if reading is None:
            return []
        self._read(reading)
        return [self._frame_result(index) for index in reading.frames]

    def finish(self) -> VideoInstances:
        if self.windows.num_seen == 0:
            raise ValueError(f"video {self._video_id}: finish() before any frame was fed")
        self._read(self.windows.finish())
        result = self._video_result([*self._resting.values(), *self._tracks.values()])
        if self.observer is not None:
            tracks = self._resting | self._tracks
            self.observer.finish({number: min(track.ids.values()) for number, track in tracks.items() if track.ids})
        self._resting = {}
        return result

    def _read(self, reading: Reading) -> None:
        """Masks and votes of the frames that are to be read from a window."""
        if reading.is_new:
            self._continue_tracks(self._linking.link(reading.window, reading.shared))
        window = reading.window
        for query, track in self._track_of_query.items():
            for place in reading.places():
                mask = segment_frame(window.mask_logits[query, place], self._size)
                # PARITY(vistr): a query is dropped for having no pixel before low scores empty its frames.
                track.visible = track.visible or has_pixels(mask)
                track.segmentations.append(mask if track.scores.add(window.probabilities[query, place]) else None)
        self._decided = reading.frames.stop

    def _continue_tracks(self, numbers: Sequence[int | None]) -> None:
        """``numbers``: which track each query of the latest window carries."""
        known = self._resting | self._tracks
        self._tracks, self._track_of_query = {}, {}
        for query, number in enumerate(numbers):
            if number is not None:
                track = self._resumed(known.pop(number)) if number in known else self._new_track()
                self._tracks[number] = self._track_of_query[query] = track
        self._resting = {number: track for number, track in known.items() if track.visible}
        if len(self._resting) > MAX_ENDED_TRACKS:
            best = sorted(self._resting, key=lambda number: -self._resting[number].scores.best())
            kept = set(best[:MAX_ENDED_TRACKS])
            self._resting = {number: track for number, track in self._resting.items() if number in kept}

    def _resumed(self, track: _Track) -> _Track:
        """A track goes on; in the frames between it has no mask, and they say nothing of its class."""
        track.segmentations += [None] * (self._decided - track.start - len(track.segmentations))
        return track

    def _new_track(self) -> _Track:
        return _Track(start=self._decided, scores=self._rule.begin_track())

    def _frame_result(self, index: int) -> VideoInstances:
        tracks = list(self._track_of_query.values())
        segmentations = [[track.in_frame(index)] for track in tracks]
        shown = [
            track.visible and mask is not None and has_pixels(mask) for track, (mask,) in zip(tracks, segmentations)
        ]
        return self._instances(tracks, segmentations, shown, num_frames=1)

    def _video_result(self, tracks: list[_Track]) -> VideoInstances:
        segmentations = []
        for track in tracks:
            after = self._decided - track.start - len(track.segmentations)
            segmentations.append([None] * track.start + track.segmentations + [None] * after)
        return self._instances(tracks, segmentations, [track.visible for track in tracks], num_frames=self._decided)

    def _instances(
        self,
        tracks: list[_Track],
        segmentations: list[list[Segmentation | None]],
        shown: list[bool],
        *,
        num_frames: int,
    ) -> VideoInstances:
        """Records of the tracks that are ``shown``."""
        # PARITY(seqformer): a track without a pixel takes part in the choice of the best, and is then left out.
        entries = [entry for entry in self._rule.entries([track.scores for track in tracks]) if shown[entry.track]]
        return VideoInstances(
            video_id=self._video_id,
            size=self._size,
            num_frames=num_frames,
            scores=np.array([entry.score for entry in entries], np.float32),
            labels=np.array([entry.label for entry in entries], np.int64),
            track_ids=np.array([self._id(tracks[entry.track], entry) for entry in entries], np.int64),
            segmentations=[segmentations[entry.track] if entry.has_masks else [None] * num_frames for entry in entries],
        )

    def _id(self, track: _Track, entry: Entry) -> int:
        category = None if self._rule.one_entry else entry.label
        if category not in track.ids:
            track.ids[category], self._next_id = self._next_id, self._next_id + 1
        return track.ids[category]
