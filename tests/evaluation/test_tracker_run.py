"""A tracker over a labelled set: kept, gone on with, and refused when something else made the results."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest

from mindvideo.errors import UserError
from mindvideo.evaluation.evaluator import evaluate_results
from mindvideo.evaluation.ground_truth import parse_ground_truth
from mindvideo.evaluation.results_json import ResultsFile
from mindvideo.evaluation.tracker_run import FinishedVideos, evaluate_tracker
from mindvideo.structures import VideoInstances
from tests.evaluation import scenes

GROUND_TRUTH = parse_ground_truth(scenes.annotations())


class KnowsTheAnswer:
    """Gives the annotations back; ``fails_at`` a video it stops with an error."""

    def __init__(self, *, fails_at: int | None = None, drops_last: bool = False) -> None:
        self.begun: list[int] = []
        self.fails_at = fails_at
        self.drops_last = drops_last

    def begin(self, *, size, num_frames, video_id):
        self.begun.append(video_id)
        self.size, self.expected, self.video_id, self.fed = size, num_frames, video_id, 0

    def feed(self, frame):
        assert frame.shape == (*self.size, 3)
        self.fed += 1
        if self.video_id == self.fails_at and self.fed == 3:
            raise KeyboardInterrupt
        return []

    def finish(self):
        assert self.fed == self.expected
        objects = scenes.SCENES[self.video_id]
        N, T = len(objects), self.fed - self.drops_last
        return VideoInstances(
            video_id=self.video_id,
            size=self.size,
            num_frames=T,
            scores=np.full(N, 0.9, np.float32),
            labels=np.array([label for label, _ in objects]),
            track_ids=np.arange(N),
            segmentations=[[scenes.encoded(box) for box in boxes][:T] for _, boxes in objects],
        )


@contextlib.contextmanager
def open_frames(video):
    yield (np.zeros((video.height, video.width, 3), np.uint8) for _ in range(video.length))


def test_in_memory():
    evaluation = evaluate_tracker(KnowsTheAnswer(), GROUND_TRUTH, open_frames)
    assert evaluation.tracks.statistics()["AP"] == 1.0


def test_an_interrupted_run_goes_on(tmp_path):
    settings = {"weights": "abc"}
    tracker = KnowsTheAnswer(fails_at=7)
    with pytest.raises(KeyboardInterrupt):
        FinishedVideos(tmp_path, settings=settings).run_missing(tracker, GROUND_TRUTH.videos, open_frames)
    assert tracker.begun == [3, 7]
    assert [path.name for path in (tmp_path / "videos").iterdir()] == ["3.json"]
    again = KnowsTheAnswer()
    finished = FinishedVideos(tmp_path, settings=settings)
    speed = finished.run_missing(again, GROUND_TRUTH.videos, open_frames)
    assert again.begun == [7, 11]  # the finished one is not run again
    assert speed["videos_run"] == 2 and speed["frames_per_second"] > 0
    results = finished.results(GROUND_TRUTH.videos)
    assert evaluate_results(GROUND_TRUTH, results).tracks.statistics()["AP"] == 1.0
    finished.gather(GROUND_TRUTH.videos, tmp_path / "results.json")
    gathered = ResultsFile(tmp_path / "results.json")
    assert all(gathered.records(video.id) == results.records(video.id) for video in GROUND_TRUTH.videos)


def test_results_of_other_weights_are_not_mixed(tmp_path):
    finished = FinishedVideos(tmp_path, settings={"weights": "abc"})
    finished.run_missing(KnowsTheAnswer(), GROUND_TRUTH.videos[:1], open_frames)
    with pytest.raises(UserError, match="weights: 'abc' then, 'def' now"):
        FinishedVideos(tmp_path, settings={"weights": "def"})
    tracker = KnowsTheAnswer()
    forced = FinishedVideos(tmp_path, settings={"weights": "def"}, force=True)
    forced.run_missing(tracker, GROUND_TRUTH.videos, open_frames)
    assert tracker.begun == [3, 7, 11]
    assert json.loads((tmp_path / "settings.json").read_text()) == {"weights": "def"}


def test_a_result_that_does_not_cover_its_video_is_not_kept(tmp_path):
    finished = FinishedVideos(tmp_path, settings={})
    with pytest.raises(UserError, match="video 3: 7 frames were read, it is annotated with 8"):
        finished.run_missing(KnowsTheAnswer(drops_last=True), GROUND_TRUTH.videos, open_frames)
    assert not list((tmp_path / "videos").glob("*.json"))


def test_frames_of_another_size_are_named(tmp_path):
    @contextlib.contextmanager
    def wrong_frames(video):
        yield (np.zeros((10, 12, 3), np.uint8) for _ in range(video.length))

    with pytest.raises(UserError, match=r"video3/00000.jpg: \(10, 12\) .*\(40, 60\)"):
        evaluate_tracker(KnowsTheAnswer(), GROUND_TRUTH, wrong_frames)
