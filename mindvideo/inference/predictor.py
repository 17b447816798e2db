"""A tracker with its surroundings: a video in, the instances of each frame out, and the whole result at the end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mindvideo.data.media.reader import DEFAULT_FRAMES_PER_SECOND, FrameSelection, VideoReader, fail_on_problem
from mindvideo.data.media.sources import find_videos
from mindvideo.errors import UserError
from mindvideo.inference.pipeline import ReadAhead
from mindvideo.inference.track import TrackedVideo
from mindvideo.inference.trackers.tracker import VideoTracker
from mindvideo.structures import Frame, VideoInstances

Source = str | Path | VideoReader | Iterable[np.ndarray]


class Predictor:
    """Runs a :class:`~mindvideo.inference.trackers.tracker.VideoTracker` over videos, one at a time.

    ``class_names``: names of the categories by id, where they are known. ``read_ahead``: frames that a thread reads
    in advance. While one video is tracked, another ``track`` of the same predictor is refused, on any thread: a tracker
    follows one video. Finish the loop, or ``close()`` it, or make a second predictor.
    """

    def __init__(
        self, *, tracker: VideoTracker, class_names: Mapping[int, str] | None = None, read_ahead: int = 8
    ) -> None:
        self.class_names = dict(class_names or {})
        self._tracker = tracker
        self._read_ahead = read_ahead
        self._result: VideoInstances | None = None
        self._busy = threading.Lock()

    @property
    def result(self) -> VideoInstances:
        """The official result of the last video, known when ``track`` has come to its end."""
        if self._result is None:
            raise UserError("no result yet: iterate over track() to its end first")
        return self._result

    @property
    def cuts(self) -> list[int]:
        """Frames of the last video with which another scene began, where the tracker looks for cuts."""
        return list(getattr(self._tracker, "cuts", []))

    def track(
        self,
        source: Source,
        *,
        frames: FrameSelection | str = FrameSelection(),  # noqa: B008  (frozen)
        video_id: int | str = 1,
    ) -> Iterator[VideoInstances]:
        """The instances of each frame, in order, each a VideoInstances with ``num_frames`` 1.

        ``source``: a video file, a folder of frames, a glob, ``camera:0``, ``-``; or uint8 RGB arrays [H, W, 3], which
        are copied as they are read, so that a generator may fill one buffer again and again. ``frames``:
        "START:STOP:STEP", for files and folders.
        """
        for _, instances in self.track_frames(source, frames=frames, video_id=video_id):
            yield instances

    def track_frames(
        self,
        source: Source,
        *,
        frames: FrameSelection | str = FrameSelection(),  # noqa: B008  (frozen)
        video_id: int | str = 1,
        on_problem: Callable[[str], None] = fail_on_problem,
        stop: threading.Event | None = None,
    ) -> Generator[tuple[Frame, VideoInstances], None, None]:
        """As ``track``, with the frame itself. ``on_problem`` hears of frames that cannot be read.

        Once ``stop`` is set the video ends, after at least one frame, as if the source had come to its end.
        """
        selection = FrameSelection.parse(frames) if isinstance(frames, str) else frames
        with self._claimed(), contextlib.ExitStack() as stack:
            self._result = None
            reader = stack.enter_context(reader_of(source, selection))
            frames_ahead = ReadAhead(
                reader.frames(on_problem), depth=self._read_ahead, stop=stop, interrupt=reader.interrupt
            )
            incoming = stack.enter_context(frames_ahead)
            tracked = TrackedVideo(
                self._tracker, incoming, size=reader.size, num_frames=reader.num_frames, video_id=video_id
            )
            yield from tracked
            self._result = tracked.result

    @contextlib.contextmanager
    def _claimed(self) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise UserError(
                "this predictor is tracking another video: finish that loop or close() it first, or use a second "
                "predictor (one predictor follows one video at a time)"
            )
        try:
            yield
        finally:
            self._busy.release()


class ArrayFrames(VideoReader):
    """Frames from memory, or from any iterable that makes them: uint8 RGB [H, W, 3], copied when they are read."""

    def __init__(self, arrays: Iterable[np.ndarray], *, name: str = "frames") -> None:
        self.name = name
        self.num_frames = len(arrays) if isinstance(arrays, (Sequence, np.ndarray)) else None
        self.frames_per_second = DEFAULT_FRAMES_PER_SECOND
        self._arrays = iter(arrays)
        first = next(self._arrays, None)
        if first is None:
            raise UserError(f"{name}: no frames were given")
        self._first = self._frame(first, 0)
        self.size = self._first.size

    def decode(self) -> Iterator[Frame]:
        yield self._first
        for index, array in enumerate(self._arrays, start=1):
            yield self._frame(array, index)

    def _frame(self, array: np.ndarray, index: int) -> Frame:
        """A frame of its own: whoever gave the array may change it while the copy waits for its turn."""
        try:
            Frame(image=array, index=index, source=self.name)  # checks the array before it is copied
            return Frame(image=array.copy(), index=index, source=f"{self.name}, frame {index}")
        except (TypeError, ValueError) as error:
            raise UserError(f"{self.name}, frame {index}: expected uint8 RGB [H, W, 3] ({error})") from error


def reader_of(source: Source, selection: FrameSelection) -> VideoReader:
    """A reader over one video, however it is given."""
    if isinstance(source, VideoReader):
        return source
    if not isinstance(source, (str, Path)):
        if not isinstance(source, Iterable) or isinstance(source, (bytes, Mapping)):
            raise UserError(
                f"track() takes a video file, a folder of frames, a glob, 'camera:0', '-', or an iterable of uint8 RGB "
                f"arrays [H, W, 3]; got {'None' if source is None else type(source).__name__}"
            )
        return ArrayFrames(source)
    sources = find_videos(source)
    if len(sources) != 1:
        names = ", ".join(each.name for each in sources[:3])
        raise UserError(f"{source}: names {len(sources)} videos ({names}, ...); give one at a time")
    return sources[0].open(selection=selection)
