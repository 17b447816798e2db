"""A tracker over a labelled set, video by video; finished videos are kept in a store and not run again."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from mindvideo.errors import UserError
from mindvideo.evaluation.evaluator import Evaluation, evaluate_results
from mindvideo.evaluation.ground_truth import GroundTruth, LabelledVideo
from mindvideo.evaluation.results_json import ResultsFolder, ResultsInMemory
from mindvideo.inference.compile_notice import compiling_seconds
from mindvideo.inference.output.sharing import VideoSharing
from mindvideo.inference.output.store import RESULTS, StoredVideo, VideoReport, VideoStore
from mindvideo.inference.track import TrackedVideo
from mindvideo.inference.trackers.tracker import VideoTracker
from mindvideo.logs import progress
from mindvideo.structures import Frame, VideoInstances

_log = logging.getLogger("mindvideo.evaluation")

# Opens the frames (uint8 RGB [H, W, 3]) of a labelled video.
OpenFrames = Callable[[LabelledVideo], AbstractContextManager[Iterable[np.ndarray]]]


def track_labelled(tracker: VideoTracker, video: LabelledVideo, open_frames: OpenFrames) -> VideoInstances:
    """The tracker's whole result of one video."""
    size = (video.height, video.width)
    with open_frames(video) as arrays:
        frames = _annotated_frames(video, arrays)
        return TrackedVideo(tracker, frames, size=size, num_frames=video.length, video_id=video.id).run()


def _annotated_frames(video: LabelledVideo, arrays: Iterable[np.ndarray]) -> Iterator[Frame]:
    for index, array in enumerate(arrays):
        name = video.file_names[index] if index < len(video.file_names) else f"frame {index}"
        if array.shape[:2] != (video.height, video.width):
            raise UserError(
                f"{name}: {array.shape[:2]} (height, width), but its annotation says {(video.height, video.width)}"
            )
        yield Frame(image=array, index=index, source=name)


def evaluate_tracker(
    tracker: VideoTracker,
    ground_truth: GroundTruth,
    open_frames: OpenFrames,
    *,
    details: bool = False,
    sharing: VideoSharing | None = None,
) -> Evaluation | None:
    """Run and evaluate, for instance during a training. Inside the block of ``sharing`` every process runs its share
    of the videos, and only the first one gets the evaluation."""
    results = run_in_memory(tracker, ground_truth, open_frames, sharing=sharing)
    return None if results is None else evaluate_results(ground_truth, results, details=details)


def run_in_memory(
    tracker: VideoTracker,
    ground_truth: GroundTruth,
    open_frames: OpenFrames,
    *,
    sharing: VideoSharing | None = None,
) -> ResultsInMemory | None:
    """The records of all videos, in the first process of those that share them."""
    sharing = sharing or VideoSharing.single()
    records: dict[int, list] = {}
    videos = ground_truth.videos
    for place, video in enumerate(progress(videos, total=len(videos), label="evaluating", unit="video")):
        if sharing.claim(place):
            records[place] = track_labelled(tracker, video, open_frames).to_results()
            sharing.tell(f"results-{place}", records[place])
    sharing.wait_for_others()
    if not sharing.is_first:
        return None
    found = [records[place] if place in records else sharing.told(f"results-{place}") for place in range(len(videos))]
    return ResultsInMemory([each for some in found for each in some])


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelledRun:
    """The videos of a set in a store, each under its own id."""

    store: VideoStore
    videos: Sequence[LabelledVideo]
    rows: Sequence[StoredVideo]

    @classmethod
    def begin(cls, store: VideoStore, videos: Sequence[LabelledVideo], *, force: bool = False) -> LabelledRun:
        """Lock the store and register the videos.

        Finished videos of other settings are refused; with ``force`` all finished videos are run again.
        """
        store.start()
        if not force:
            store.require_same_settings()
        rows = store.register_with_ids({video.id: video.name for video in videos})
        if force:
            for row in store.videos:
                store.begin(row)
        return cls(store=store, videos=videos, rows=rows)

    @classmethod
    def join(cls, store: VideoStore, videos: Sequence[LabelledVideo]) -> LabelledRun:
        """The same in another process, after :meth:`begin` in the first one."""
        store.join()
        return cls(store=store, videos=videos, rows=store.register_with_ids({video.id: video.name for video in videos}))

    def run_missing(
        self, tracker: VideoTracker, open_frames: OpenFrames, *, sharing: VideoSharing | None = None
    ) -> dict[str, Any]:
        """Run the videos that are not finished yet, or this process's share of them; how many and how fast."""
        sharing = sharing or VideoSharing.single()
        pairs = list(zip(self.videos, self.rows))
        finished = sum(self.store.finished(row) is not None for row in self.rows)
        if finished and sharing.is_first:
            _log.info("%d of %d videos are finished from an earlier run", finished, len(pairs))
        videos_run, frames, start, compiling = 0, 0, time.perf_counter(), compiling_seconds()
        for place, (video, row) in enumerate(progress(pairs, total=len(pairs), label="evaluating", unit="video")):
            if self.store.finished(row) is None and sharing.claim(place):
                self._run(tracker, video, row, open_frames)
                videos_run, frames = videos_run + 1, frames + video.length
        sharing.tell(f"speed-{sharing.rank}", [videos_run, frames])
        sharing.wait_for_others()
        for rank in range(1, sharing.world_size):
            more_videos, more_frames = sharing.told(f"speed-{rank}")
            videos_run, frames = videos_run + more_videos, frames + more_frames
        seconds = time.perf_counter() - start
        compiling = compiling_seconds() - compiling
        rate = frames / (seconds - compiling) if frames and seconds > compiling else None
        speed = {"seconds": seconds, "compile_seconds": compiling, "frames_per_second": rate}
        return {"videos_run": videos_run, **speed}

    def _run(self, tracker: VideoTracker, video: LabelledVideo, row: StoredVideo, open_frames: OpenFrames) -> None:
        began = time.perf_counter()
        self.store.begin(row)
        result = track_labelled(tracker, video, open_frames)
        if result.num_frames != video.length:
            raise UserError(
                f"video {video.id}: {result.num_frames} frames were read, it is annotated with {video.length}"
            )
        self.store.save_results(row, result)
        report = VideoReport(
            name=row.name, video_id=row.id, status="done", frames=video.length, tracks=len(result),
            seconds=time.perf_counter() - began,
        )  # fmt: skip
        self.store.finish(row, report, result)

    def results(self) -> ResultsFolder:
        return ResultsFolder({row.id: self.store.folder_of(row) / RESULTS for row in self.rows})
