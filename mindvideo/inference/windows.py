"""Families that look at T frames at once, on videos of any length: overlapping windows whose tracks are linked.

A video of at most T frames is one window, repeated cyclically when shorter, with exactly the result of the original
procedure. In a longer one each window starts ``T - overlap`` frames after the one before, and the last is moved back so
that it is full. A frame that two windows have seen is read from the one in which it is farther from the border.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from mindvideo.inference.clip_prediction import (
    LEAST_FRAME_PROBABILITY,
    ClipPrediction,
    ClipRunner,
    frame_votes,
    has_pixels,
    score_track,
    segment_frame,
)
from mindvideo.inference.window_links import link_slots
from mindvideo.structures import Segmentation, VideoInstances

# What YouTube-VIS counts at most per video; a long video would otherwise collect the empty slots of every window.
MOST_ENDED_TRACKS = 100


@dataclasses.dataclass
class _Track:
    """One instance so far: consecutive frames from ``start`` on, with a vote and a mask each."""

    start: int
    scores: list[float] = dataclasses.field(default_factory=list)
    labels: list[int] = dataclasses.field(default_factory=list)
    segmentations: list[Segmentation | None] = dataclasses.field(default_factory=list)
    visible: bool = False  # some frame has a pixel
    track_id: int = 0  # given when the track becomes visible

    def score(self) -> tuple[float, int]:
        return score_track(np.asarray(self.scores, np.float32), np.asarray(self.labels))

    def in_frame(self, index: int) -> Segmentation | None:
        place = index - self.start
        return self.segmentations[place] if 0 <= place < len(self.segmentations) else None


class WindowTracker:
    """A :class:`~mindvideo.inference.tracker.VideoTracker` over a clip network.

    ``runner`` sees exactly ``num_frames`` frames after ``resize`` (uint8 [H, W, 3] -> uint8 [h, w, 3]).
    ``overlap``: share of a window that the next one sees again. ``least_similarity``: see ``link_slots``.
    """

    def __init__(
        self,
        *,
        runner: ClipRunner,
        num_frames: int,
        resize: Callable[[np.ndarray], np.ndarray],
        overlap: float = 1 / 3,
        least_similarity: float = 0.25,
    ) -> None:
        if not 0.0 <= overlap < 1.0:
            raise ValueError(f"overlap: expected a share from 0 to below 1, got {overlap}")
        self._runner = runner
        self._T = num_frames
        self._resize = resize
        self._overlap = min(round(overlap * num_frames), num_frames - 1)
        self._least_similarity = least_similarity

    def export_plan(self, *, size: tuple[int, int]):
        """What to export: the clip network, for frames of ``size`` (H, W)."""
        return self._runner.export_plan(num_frames=self._T, size=size)

    def begin(self, *, size: tuple[int, int], num_frames: int | None, video_id: int | str) -> None:
        self._size = size
        self._video_id = video_id
        self._frames: list[np.ndarray] = []  # the last T, resized
        self._seen = 0  # frames fed
        self._covered = 0  # frames that a window has seen
        self._decided = 0  # frames whose masks are read
        self._window: ClipPrediction | None = None  # the latest; it begins at frame `_covered - T`
        self._track_of_slot: dict[int, _Track] = {}
        self._ended: list[_Track] = []
        self._next_id = 1

    def feed(self, frame: np.ndarray) -> list[VideoInstances]:
        self._frames.append(self._resize(frame))
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
        tracks = [track for track in self._ended + list(self._track_of_slot.values()) if track.visible]
        result = self._video_result(tracks)
        self._frames, self._window, self._ended = [], None, []
        return result

    def _run_window(self) -> None:
        """See the last T frames (of a shorter video: all of them, over and over) and continue the tracks."""
        available = len(self._frames)
        clip = np.stack([self._frames[position % available] for position in range(self._T)])  # [T, h, w, 3]
        before, self._window = self._window, self._runner(clip)
        start = max(self._seen - self._T, 0)
        if before is None:
            slots = range(len(self._window.probabilities))
            self._track_of_slot = {slot: _Track(start=0) for slot in slots}
        else:
            # What the window before has seen beyond the decided frames belongs to this window now.
            links = link_slots(
                before, self._window, shared=self._covered - start, least_similarity=self._least_similarity
            )
            self._continue_tracks(links)
        self._covered = self._seen

    def _continue_tracks(self, links: dict[int, int]) -> None:
        previous = self._track_of_slot
        self._track_of_slot = {
            slot: previous.pop(links[slot]) if slot in links else _Track(start=self._decided)
            for slot in range(len(self._window.probabilities))
        }
        self._ended += [track for track in previous.values() if track.visible]
        if len(self._ended) > MOST_ENDED_TRACKS:
            best = sorted(self._ended, key=lambda track: -track.score()[0])[:MOST_ENDED_TRACKS]
            kept = {id(track) for track in best}
            self._ended = [track for track in self._ended if id(track) in kept]

    def _decide_until(self, end: int) -> None:
        """Read masks and votes of the frames up to ``end`` from the latest window."""
        start = max(self._covered - self._T, 0)
        scores, labels = frame_votes(self._window.probabilities)  # [N, T]
        for slot, track in self._track_of_slot.items():
            for index in range(self._decided, end):
                place = index - start
                segmentation = None
                logits = self._window.mask_logits[slot, place]
                mask = segment_frame(logits, self._size)
                if scores[slot, place] >= LEAST_FRAME_PROBABILITY:
                    segmentation = mask
                # PARITY(vistr): a slot is dropped for having no pixel before low scores empty its frames.
                track.visible = track.visible or has_pixels(mask)
                track.scores.append(float(scores[slot, place]))
                track.labels.append(int(labels[slot, place]))
                track.segmentations.append(segmentation)
            if track.visible and not track.track_id:
                track.track_id, self._next_id = self._next_id, self._next_id + 1
        self._decided = end

    def _frame_result(self, index: int) -> VideoInstances:
        shown = [
            (track, segmentation)
            for track in self._track_of_slot.values()
            if track.visible and (segmentation := track.in_frame(index)) is not None and has_pixels(segmentation)
        ]
        return self._instances(
            [track for track, _ in shown], [[segmentation] for _, segmentation in shown], num_frames=1
        )

    def _video_result(self, tracks: list[_Track]) -> VideoInstances:
        segmentations = []
        for track in tracks:
            after = self._seen - track.start - len(track.segmentations)
            segmentations.append([None] * track.start + track.segmentations + [None] * after)
        return self._instances(tracks, segmentations, num_frames=self._seen)

    def _instances(
        self, tracks: list[_Track], segmentations: list[list[Segmentation | None]], *, num_frames: int
    ) -> VideoInstances:
        votes = [track.score() for track in tracks]
        return VideoInstances(
            video_id=self._video_id,
            size=self._size,
            num_frames=num_frames,
            scores=np.array([score for score, _ in votes], np.float32),
            labels=np.array([label for _, label in votes], np.int64),
            track_ids=np.array([track.track_id for track in tracks], np.int64),
            segmentations=segmentations,
        )
