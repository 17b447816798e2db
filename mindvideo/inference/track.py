"""The one loop over a video: frames in, the instances of each frame out, and the whole result at the end."""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterable, Iterator

from mindvideo.errors import UserError
from mindvideo.inference.compile_notice import CompileNotice
from mindvideo.inference.trackers.tracker import VideoTracker, frame_of
from mindvideo.structures import Frame, VideoInstances

# Graphs are not made to run on two threads at once: trackers on other threads wait for each other, frame by frame.
_NETWORK = threading.RLock()


class TrackedVideo:
    """A tracker's way through the frames of one video, all of ``size`` (H, W).

    Iterate over it for every frame with its instances (``num_frames`` 1), in order; ``result`` is known at the end.
    Frames wait inside until their instances are final, as many as the tracker needs to decide. ``num_frames`` is a
    hint, None where the length is unknown.
    """

    def __init__(
        self,
        tracker: VideoTracker,
        frames: Iterable[Frame],
        *,
        size: tuple[int, int],
        num_frames: int | None,
        video_id: int | str,
    ) -> None:
        self.result: VideoInstances | None = None
        self._tracker, self._frames = tracker, frames
        self._size, self._num_frames, self._video_id = size, num_frames, video_id

    def __iter__(self) -> Iterator[tuple[Frame, VideoInstances]]:
        notice = CompileNotice(self._tracker, self._size)
        with _NETWORK:
            self._tracker.begin(size=self._size, num_frames=self._num_frames, video_id=self._video_id)
        waiting: collections.deque[Frame] = collections.deque()
        done = 0
        for frame in self._frames:
            waiting.append(frame)
            with _NETWORK, notice.at_work():
                final = self._tracker.feed(frame.image)
            if final:
                notice.answered()
            for instances in final:
                yield waiting.popleft(), instances
                done += 1
        if not done and not waiting:
            raise UserError("the video ended before its first frame")
        with _NETWORK, notice.at_work():
            result = self._tracker.finish()
        notice.answered()
        if result.num_frames != done + len(waiting):
            raise ValueError(
                f"video {self._video_id}: the tracker was fed {done + len(waiting)} frames, its result has "
                f"{result.num_frames}"
            )
        self.result = result
        while waiting:
            yield waiting.popleft(), frame_of(result, done)
            done += 1

    def run(self) -> VideoInstances:
        """The whole result, for those who need no single frames."""
        for _ in self:
            pass
        assert self.result is not None  # the loop has come to its end
        return self.result
