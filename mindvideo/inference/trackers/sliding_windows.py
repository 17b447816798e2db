"""A video as overlapping windows of T frames, and which frames are read from which window.

A video of at most T frames is one window, repeated cyclically when shorter. In a longer one each window starts
``T - overlap`` frames after the one before, and the last is moved back so that it is full. A frame that two windows
have seen is read from the one in which it is farther from the border.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from mindvideo.inference.scoring.clip_prediction import ClipPrediction, ClipRunner


class Reading(NamedTuple):
    """Frames of the video that are to be read from a window."""

    window: ClipPrediction
    is_new: bool  # no frame was read from this window before
    shared: int  # its first frames, that the window before has seen too
    frames: range  # to be read now
    start: int  # the frame with which the window begins

    def places(self) -> Iterator[int]:
        """Where the frames are in the window."""
        return (frame - self.start for frame in self.frames)


class SlidingWindows:
    """``runner``: the network, over ``num_frames`` frames at once. ``overlap``: share of a window that the next one
    sees again. ``repeat_short``: a shorter video is repeated, and otherwise shown as it is.
    """

    def __init__(self, *, runner: ClipRunner, num_frames: int, overlap: float, repeat_short: bool) -> None:
        if not 0.0 <= overlap < 1.0:
            raise ValueError(f"overlap: expected a share from 0 to below 1, got {overlap}")
        self.runner, self.num_frames, self._repeat_short = runner, num_frames, repeat_short
        self._overlap = min(round(overlap * num_frames), num_frames - 1)

    def begin(self) -> None:
        self.frames: list[Any] = []  # the last T, prepared
        self.num_seen = 0  # frames fed
        self._covered = 0  # frames that a window has seen
        self._read = 0  # frames that were read
        self._window: ClipPrediction | None = None  # the latest; it begins at frame `_covered - T`

    def feed(self, frame: Any) -> Reading | None:
        """``frame`` as the runner wants it; what can be read now."""
        self.frames.append(frame)
        del self.frames[: -self.num_frames]
        self.num_seen += 1
        waiting = self.num_seen - self._covered
        full = self.num_seen >= self.num_frames
        if not full or (self._window is not None and waiting < self.num_frames - self._overlap):
            return None
        self._see()
        return self._reading(self._covered - self._overlap // 2, is_new=True)

    def finish(self) -> Reading:
        """The rest of the video, which must have a frame."""
        is_new = self._covered < self.num_seen
        if is_new:
            self._see()
        reading = self._reading(self.num_seen, is_new=is_new)
        self.frames, self._window = [], None
        return reading

    def _see(self) -> None:
        """The last T frames (of a shorter video: all of them) through the network."""
        available = len(self.frames)
        length = self.num_frames if self._repeat_short else available
        self._window = self.runner([self.frames[place % available] for place in range(length)])
        # The frames that the window before has seen and that were not read yet belong to this window now.
        start = max(self.num_seen - self.num_frames, 0)
        self._shared = max(self._covered - start, 0)
        self._covered = self.num_seen

    def _reading(self, end: int, *, is_new: bool) -> Reading:
        assert self._window is not None
        frames, self._read = range(self._read, end), end
        start = max(self._covered - self.num_frames, 0)
        return Reading(self._window, is_new, self._shared, frames, start)
