"""Families that look at T frames at once, on videos of any length: overlapping windows whose tracks are linked.

A video of at most T frames is one window, repeated cyclically when shorter, with exactly the result of the original
procedure. In a longer one each window starts ``T - overlap`` frames after the one before, and the last is moved back so
that it is full. A frame that two windows have seen is read from the one in which it is farther from the border.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from mindvideo.data.media.frame_size import size_after
from mindvideo.inference.export import ExportPlan
from mindvideo.inference.scoring.clip_prediction import (
    ClipPrediction,
    ClipRunner,
    segment_frame,
)
from mindvideo.inference.scoring.track_scores import Entry, ScoreRule, TrackScores
from mindvideo.inference.trackers.linking import Linking, OverlapLinking
from mindvideo.masks.rle import has_pixels
from mindvideo.structures import Segmentation, VideoInstances

# YouTube-VIS counts no more per video; a long video would otherwise collect the empty queries of every window.
MAX_ENDED_TRACKS = 100


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
    ``observer``: told when a video begins and ends, for analysis.
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
        observer: WindowObserver | None = None,
    ) -> None:
        if not 0.0 <= overlap < 1.0:
            raise ValueError(f"overlap: expected a share from 0 to below 1, got {overlap}")
        self._runner = runner
        self._T = num_frames
        self._prepare = prepare
        self._rule = rule
        self._repeat_short = repeat_short
        self._overlap = min(round(overlap * num_frames), num_frames - 1)
        self._linking = OverlapLinking() if linking is None else linking
        self.observer = observer

    def export_plan(self, *, size: tuple[int, int]) -> ExportPlan:
        """The plan of an export: the clip network, for frames of ``size`` (H, W)."""
        return self._runner.export_plan(num_frames=self._T, size=size)

    def seen_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size in which the network sees frames of ``size`` (H, W)."""
        return size_after(self._prepare, size)

    def begin(self, *, size: tuple[int, int], num_frames: int | None, video_id: int | str) -> None:
        self._size = size
        self._video_id = video_id
        self._frames: list[Any] = []  # the last T, prepared
        self._seen = 0  # frames fed
        self._covered = 0  # frames that a window has seen
        self._decided = 0  # frames whose masks are read
        self._window: ClipPrediction | None = None  # the latest; it begins at frame `_covered - T`
        self._linking.begin()
        if self.observer is not None:
            self.observer.begin(video_id=video_id)
        self._tracks: dict[int, _Track] = {}  # those of the latest window, by the number that the linking gave them
        self._track_of_query: dict[int, _Track] = {}
        self._resting: dict[int, _Track] = {}  # those that the latest window has lost, the longest lost first
        self._next_id = 1

    def feed(self, frame: np.ndarray) -> list[VideoInstances]:
        self._frames.append(self._prepare(frame))
        del self._frames[: -self._T]
        self._seen += 1
        waiting = self._seen - self._covered
        if self._seen < self._T or (self._window is not None and waiting < self._T - self._overlap):
            return []
        self._run_window()
        first, last = self._decided, self._covered - self._overlap // 2
        self._decide_until(last)
        return [self._frame_result(index) for index in range(first, last)]

    def finish(self) -> VideoInstances:
        if self._seen == 0:
            raise ValueError(f"video {self._video_id}: finish() before any frame was fed")
        if self._covered < self._seen:
            self._run_window()
        self._decide_until(self._seen)
        result = self._video_result([*self._resting.values(), *self._tracks.values()])
        if self.observer is not None:
            tracks = self._resting | self._tracks
            self.observer.finish({number: min(track.ids.values()) for number, track in tracks.items() if track.ids})
        self._frames, self._window, self._resting = [], None, {}
        return result

    def _run_window(self) -> None:
        """See the last T frames (of a shorter video: all of them) and continue the tracks."""
        available = len(self._frames)
        length = self._T if self._repeat_short else available
        clip = [self._frames[position % available] for position in range(length)]
        self._window = self._runner(clip)
        # The frames that the window before has seen but not decided belong to this window now.
        start = max(self._seen - self._T, 0)
        self._continue_tracks(self._linking.link(self._window, max(self._covered - start, 0)))
        self._covered = self._seen

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

    def _decide_until(self, end: int) -> None:
        """Read masks and votes of the frames up to ``end`` from the latest window."""
        window = self._window
        if window is None:
            return
        start = max(self._covered - self._T, 0)
        for query, track in self._track_of_query.items():
            for index in range(self._decided, end):
                place = index - start
                mask = segment_frame(window.mask_logits[query, place], self._size)
                # PARITY(vistr): a query is dropped for having no pixel before low scores empty its frames.
                track.visible = track.visible or has_pixels(mask)
                track.segmentations.append(mask if track.scores.add(window.probabilities[query, place]) else None)
        self._decided = end

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
            after = self._seen - track.start - len(track.segmentations)
            segmentations.append([None] * track.start + track.segmentations + [None] * after)
        return self._instances(tracks, segmentations, [track.visible for track in tracks], num_frames=self._seen)

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
