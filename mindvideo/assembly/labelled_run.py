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
    tracker: VideoTracker, ground_truth: GroundTruth, open_frames: OpenFrames, *, details: bool = False
) -> Evaluation:
    """Run and evaluate in memory, for instance during a training."""
    return evaluate_results(ground_truth, run_in_memory(tracker, ground_truth, open_frames), details=details)


def run_in_memory(tracker: VideoTracker, ground_truth: GroundTruth, open_frames: OpenFrames) -> ResultsInMemory:
    """The records of all videos."""
    records = []
    for video in progress(ground_truth.videos, total=len(ground_truth.videos), label="evaluating", unit="video"):
        records += track_labelled(tracker, video, open_frames).to_results()
    return ResultsInMemory(records)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelledRun:
    """The videos of a labelled set in a store, each under its own id."""

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

    def run_missing(self, tracker: VideoTracker, open_frames: OpenFrames) -> dict[str, Any]:
        """Run the videos that are not finished yet; how many and how fast."""
        pairs = list(zip(self.videos, self.rows))
        missing = [(video, row) for video, row in pairs if self.store.finished(row) is None]
        if len(missing) < len(pairs):
            _log.info("%d of %d videos are finished from an earlier run", len(pairs) - len(missing), len(pairs))
        frames, start, compiling = 0, time.perf_counter(), compiling_seconds()
        for video, row in progress(missing, total=len(missing), label="evaluating", unit="video"):
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
            frames += video.length
        seconds = time.perf_counter() - start
        compiling = compiling_seconds() - compiling
        rate = frames / (seconds - compiling) if frames and seconds > compiling else None
        speed = {"seconds": seconds, "compile_seconds": compiling, "frames_per_second": rate}
        return {"videos_run": len(missing), **speed}

    def results(self) -> ResultsFolder:
        return ResultsFolder({row.id: self.store.folder_of(row) / RESULTS for row in self.rows})
