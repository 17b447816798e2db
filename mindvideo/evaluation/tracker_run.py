"""A tracker over a labelled set, video by video; finished videos are kept and not run again."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import numpy as np

from mindvideo.errors import UserError
from mindvideo.evaluation.evaluator import Evaluation, evaluate_results
from mindvideo.evaluation.ground_truth import GroundTruth, LabelledVideo
from mindvideo.evaluation.results_json import ResultsFolder, ResultsInMemory, VideoId
from mindvideo.files import atomic_path, write_json
from mindvideo.logs import progress
from mindvideo.structures import VideoInstances

_log = logging.getLogger("mindvideo.evaluation")
SETTINGS = "settings.json"  # beside the folder of the finished videos: what they were made with


class Tracker(Protocol):
    """What a model looks like from here."""

    def begin(self, *, size: tuple[int, int], num_frames: int | None, video_id: VideoId) -> None: ...

    def feed(self, frame: np.ndarray) -> Any: ...

    def finish(self) -> VideoInstances: ...


# Opens the frames (uint8 RGB [H, W, 3]) of a labelled video.
OpenFrames = Callable[[LabelledVideo], AbstractContextManager[Iterable[np.ndarray]]]


def track_video(tracker: Tracker, video: LabelledVideo, open_frames: OpenFrames) -> VideoInstances:
    """The tracker's whole result of one video."""
    size = (video.height, video.width)
    tracker.begin(size=size, num_frames=video.length, video_id=video.id)
    with open_frames(video) as frames:
        for index, frame in enumerate(frames):
            if frame.shape[:2] != size:
                name = video.file_names[index] if index < len(video.file_names) else f"frame {index}"
                raise UserError(f"{name}: {frame.shape[:2]} (height, width), but its annotation says {size}")
            tracker.feed(frame)
    return tracker.finish()


def evaluate_tracker(
    tracker: Tracker, ground_truth: GroundTruth, open_frames: OpenFrames, *, details: bool = False
) -> Evaluation:
    """Run and evaluate in memory, for instance during a training."""
    records = []
    for video in progress(ground_truth.videos, total=len(ground_truth.videos), label="evaluating", unit="video"):
        records += track_video(tracker, video, open_frames).to_results()
    return evaluate_results(ground_truth, ResultsInMemory(records), details=details)


class FinishedVideos:
    """Folder ``videos/`` of a run: one file of records a video, all made with the same ``settings``."""

    def __init__(self, folder: Path, *, settings: dict[str, Any], force: bool = False) -> None:
        self.folder = folder / "videos"
        self.folder.mkdir(parents=True, exist_ok=True)
        if force:
            for path in self.folder.glob("*.json"):
                path.unlink()
        _require_same_settings(folder / SETTINGS, settings, has_videos=any(self.folder.glob("*.json")))
        write_json(folder / SETTINGS, settings)

    def path_of(self, video: LabelledVideo) -> Path:
        return self.folder / f"{quote(str(video.id), safe='')}.json"

    def run_missing(self, tracker: Tracker, videos: Sequence[LabelledVideo], open_frames: OpenFrames) -> dict[str, Any]:
        """Run the videos that have no file yet; how many and how fast. A file appears when it is whole."""
        missing = [video for video in videos if not self.path_of(video).is_file()]
        if len(missing) < len(videos):
            _log.info("%d of %d videos are finished from an earlier run", len(videos) - len(missing), len(videos))
        frames, start = 0, time.perf_counter()
        for video in progress(missing, total=len(missing), label="evaluating", unit="video"):
            result = track_video(tracker, video, open_frames)
            if result.num_frames != video.length:
                raise UserError(
                    f"video {video.id}: {result.num_frames} frames were read, it is annotated with {video.length}"
                )
            write_json(self.path_of(video), result.to_results(), indent=None)
            frames += video.length
        seconds = time.perf_counter() - start
        rate = frames / seconds if frames else None
        return {"videos_run": len(missing), "seconds": seconds, "frames_per_second": rate}

    def results(self, videos: Sequence[LabelledVideo]) -> ResultsFolder:
        return ResultsFolder({video.id: self.path_of(video) for video in videos})

    def gather(self, videos: Sequence[LabelledVideo], path: Path) -> None:
        """All records in one ``results.json``, copied video by video."""
        with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
            stream.write("[")
            separator = "\n"
            for video in videos:
                for record in json.loads(self.path_of(video).read_text(encoding="utf-8")):
                    stream.write(separator + json.dumps(record))
                    separator = ",\n"
            stream.write("\n]\n")


def _require_same_settings(path: Path, settings: dict[str, Any], *, has_videos: bool) -> None:
    if not has_videos or not path.is_file():
        return
    earlier = json.loads(path.read_text(encoding="utf-8"))
    changed = [name for name in settings if earlier.get(name) != settings[name]]
    if changed:
        name = changed[0]
        raise UserError(
            f"{path.parent} holds videos that were run with other settings ({name}: {earlier.get(name)!r} then, "
            f"{settings[name]!r} now); name another --output, or start again with --force"
        )
