"""The tracker of networks that see windows, for videos of any length, in which objects come and go.

A window says well what each of its frames shows, but its queries are tracks of that window only. So tracks live from
frame to frame, as with online networks: they begin in the frame in which a query is sure, may end inside a window, and
are known again by place, class and colours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mindvideo.inference.trackers.lives import LifeRules, Observation, small_picture
from mindvideo.inference.trackers.living_tracks import LivingTracks
from mindvideo.inference.trackers.sliding_windows import Reading, SlidingWindows
from mindvideo.structures import VideoInstances


class AnyLengthWindows:
    """A :class:`VideoTracker` over windows. ``prepare`` turns a frame into what their network wants to see of it."""

    observer = None

    def __init__(self, *, windows: SlidingWindows, prepare: Callable[[np.ndarray], Any], rules: LifeRules) -> None:
        self.windows, self.prepare, self.rules = windows, prepare, rules

    def begin(self, *, size: tuple[int, int], num_frames: int | None, video_id: int | str) -> None:  # noqa: ARG002
        self.tracks = LivingTracks(self.rules, size=size, video_id=video_id)
        self.windows.begin()
        self._pictures: list[np.ndarray] = []  # of the frames that are not read yet

    def feed(self, frame: np.ndarray) -> list[VideoInstances]:
        self._pictures.append(small_picture(frame))
        reading = self.windows.feed(self.prepare(frame))
        return [] if reading is None else self._follow(reading)

    def finish(self) -> VideoInstances:
        if self.windows.num_seen == 0:
            raise ValueError(f"video {self.tracks.video_id}: finish() before any frame was fed")
        self._follow(self.windows.finish())
        return self.tracks.result()

    def _follow(self, reading: Reading) -> list[VideoInstances]:
        window = reading.window
        shown = []
        for place in reading.places():
            seen = Observation(window.probabilities[:, place], window.mask_logits[:, place])
            shown.append(self.tracks.follow(seen, self._pictures.pop(0))[0])
        return shown
