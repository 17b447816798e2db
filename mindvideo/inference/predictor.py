"""A tracker with its surroundings: a video in, the instances of each frame out, and the whole result at the end."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mindvideo.data.media.reader import DEFAULT_FRAMES_PER_SECOND, FrameSelection, VideoReader, fail_on_problem
from mindvideo.data.media.sources import find_videos
from mindvideo.errors import UserError
from mindvideo.inference.pipeline import ReadAhead
from mindvideo.inference.trackers.tracker import VideoTracker, frame_of
from mindvideo.structures import Frame, VideoInstances


class Predictor:
    """Runs a :class:`~mindvideo.inference.trackers.tracker.VideoTracker` over videos, one at a time.

    ``class_names``: names of the categories by id, where they are known. ``read_ahead``: frames that a thread reads
    in advance.
    """

    def __init__(
        self, *, tracker: VideoTracker, class_names: Mapping[int, str] | None = None, read_ahead: int = 8
    ) -> None:
        self.class_names = dict(class_names or {})
        self._tracker = tracker
        self._read_ahead = read_ahead
        self._result: VideoInstances | None = None

    @property
    def result(self) -> VideoInstances:
        """The official result of the last video, known when ``track`` has come to its end."""
        if self._result is None:
            raise UserError("no result yet: iterate over track() to its end first")
        return self._result

    def track(
        self,
        source: str | Path | VideoReader | Iterable[np.ndarray],
        *,
        frames: FrameSelection | str = FrameSelection(),  # noqa: B008  (frozen)
        video_id: int | str = 1,
    ) -> Iterator[VideoInstances]:
        """The instances of each frame, in order, each a VideoInstances with ``num_frames`` 1.

        ``source``: a video file, a folder of frames, a glob, ``camera:0``, ``-``; or uint8 RGB arrays [H, W, 3].
        ``frames``: "START:STOP:STEP", for files and folders.
        """
        for _, instances in self.track_frames(source, frames=frames, video_id=video_id):
            yield instances

    def track_frames(
        self,
        source: str | Path | VideoReader | Iterable[np.ndarray],
        *,
        frames: FrameSelection | str = FrameSelection(),  # noqa: B008  (frozen)
        video_id: int | str = 1,
        on_problem=fail_on_problem,
    ) -> Iterator[tuple[Frame, VideoInstances]]:
        """As ``track``, with the frame itself. ``on_problem`` hears of frames that cannot be read."""
        selection = FrameSelection.parse(frames) if isinstance(frames, str) else frames
        with contextlib.ExitStack() as stack:
            reader = stack.enter_context(_reader_of(source, selection))
            incoming = stack.enter_context(ReadAhead(reader.frames(on_problem), depth=self._read_ahead))
            yield from self._pair(reader, incoming, video_id)

    def _pair(
        self, reader: VideoReader, incoming: Iterable[Frame], video_id: int | str
    ) -> Iterator[tuple[Frame, VideoInstances]]:
        """Frames wait until their instances are final."""
        self._result = None
        self._tracker.begin(size=reader.size, num_frames=reader.num_frames, video_id=video_id)
        waiting: collections.deque[Frame] = collections.deque()
        done = 0
        for frame in incoming:
            waiting.append(frame)
            for instances in self._tracker.feed(frame.image):
                yield waiting.popleft(), instances
                done += 1
        self._result = self._tracker.finish()
        for frame in waiting:
            yield frame, frame_of(self._result, done)
            done += 1


class ArrayFrames(VideoReader):
    """Frames from memory, or from any iterable that makes them: uint8 RGB [H, W, 3]."""

    def __init__(self, arrays: Iterable[np.ndarray], *, name: str = "frames") -> None:
        self.name = name
        self.num_frames = len(arrays) if isinstance(arrays, (Sequence, np.ndarray)) else None
        self.frames_per_second = DEFAULT_FRAMES_PER_SECOND
        self._arrays = iter(arrays)
        self._first = next(self._arrays, None)
        if self._first is None:
            raise UserError(f"{name}: no frames were given")
        self.size = self._checked(self._first, 0).size

    def decode(self) -> Iterator[Frame]:
        yield self._checked(self._first, 0)
        for index, array in enumerate(self._arrays, start=1):
            yield self._checked(array, index)

    def _checked(self, array: np.ndarray, index: int) -> Frame:
        try:
            return Frame(image=array, index=index, source=f"{self.name}, frame {index}")
        except (TypeError, ValueError) as error:
            raise UserError(f"{self.name}, frame {index}: expected uint8 RGB [H, W, 3] ({error})") from error


def _reader_of(source: str | Path | VideoReader | Iterable[np.ndarray], selection: FrameSelection) -> VideoReader:
    if isinstance(source, VideoReader):
        return source
    if not isinstance(source, (str, Path)):
        return ArrayFrames(source)
    sources = find_videos(source)
    if len(sources) != 1:
        names = ", ".join(each.name for each in sources[:3])
        raise UserError(f"{source}: names {len(sources)} videos ({names}, ...); give one at a time")
    return sources[0].open(selection=selection)
