"""A tracker over a labelled set: kept, gone on with, and refused when something else made the results."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest

from mindvideo.assembly.labelled_run import LabelledRun, evaluate_tracker
from mindvideo.errors import UserError
from mindvideo.evaluation.evaluator import evaluate_results
from mindvideo.evaluation.ground_truth import parse_ground_truth
from mindvideo.evaluation.results_json import ResultsFile
from mindvideo.inference.output.store import VideoStore
from mindvideo.structures import VideoInstances
from tests.evaluation import scenes

GROUND_TRUTH = parse_ground_truth(scenes.annotations())


class KnowsTheAnswer:
    """Gives the annotations back; ``fails_at`` a video it stops with an error."""

    def __init__(self, *, fails_at: int | None = None, drops_last: bool = False, checks_length: bool = True) -> None:
        self.begun: list[int] = []
        self.fails_at = fails_at
        self.drops_last = drops_last
        self.checks_length = checks_length

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
        assert self.fed == self.expected or not self.checks_length
        objects = scenes.SCENES[self.video_id]
        N, T = len(objects), self.fed - self.drops_last
        return VideoInstances(
            video_id=self.video_id,
            size=self.size,
            num_frames=T,
            scores=np.full(N, 0.9, np.float32),
            labels=np.array([label for label, _ in objects]),
            track_ids=np.arange(1, N + 1),
            segmentations=[[scenes.encoded(box) for box in boxes][:T] for _, boxes in objects],
        )


@contextlib.contextmanager
def open_frames(video):
    yield (np.zeros((video.height, video.width, 3), np.uint8) for _ in range(video.length))


@contextlib.contextmanager
def begun(folder, settings, *, force=False, videos=GROUND_TRUTH.videos):
    with VideoStore(folder, settings=settings) as store:
        yield LabelledRun.begin(store, videos, force=force)


def test_in_memory():
    evaluation = evaluate_tracker(KnowsTheAnswer(), GROUND_TRUTH, open_frames)
    assert evaluation.tracks.statistics()["AP"] == 1.0


def test_an_interrupted_run_goes_on(tmp_path):
    settings = {"weights": "abc"}
    tracker = KnowsTheAnswer(fails_at=7)
    with pytest.raises(KeyboardInterrupt), begun(tmp_path, settings) as run:
        run.run_missing(tracker, open_frames)
    assert tracker.begun == [3, 7]
    assert [path.parent.name for path in tmp_path.glob("*/run.json")] == ["3"]
    again = KnowsTheAnswer()
    with begun(tmp_path, settings) as run:
        speed = run.run_missing(again, open_frames)
        assert again.begun == [7, 11]  # the finished one is not run again
        assert speed["videos_run"] == 2 and speed["frames_per_second"] > 0
        results = run.results()
        assert evaluate_results(GROUND_TRUTH, results).tracks.statistics()["AP"] == 1.0
        run.store.gather()
    gathered = ResultsFile(tmp_path / "results.json")
    assert all(gathered.records(video.id) == results.records(video.id) for video in GROUND_TRUTH.videos)


def test_results_of_other_weights_are_not_mixed(tmp_path):
    with begun(tmp_path, {"weights": "abc"}, videos=GROUND_TRUTH.videos[:1]) as run:
        run.run_missing(KnowsTheAnswer(), open_frames)
    with pytest.raises(UserError, match="weights: 'abc' then, 'def' now"), begun(tmp_path, {"weights": "def"}):
        pass
    tracker = KnowsTheAnswer()
    with begun(tmp_path, {"weights": "def"}, force=True) as run:
        run.run_missing(tracker, open_frames)
    assert tracker.begun == [3, 7, 11]
    records = [json.loads(path.read_text()) for path in tmp_path.glob("*/run.json")]
    assert [record["settings"] for record in records] == [{"weights": "def"}] * 3


def test_two_commands_in_one_folder(tmp_path):
    with (
        begun(tmp_path, {}),
        pytest.raises(UserError, match="in use by another mindvideo command"),
        begun(tmp_path, {}),
    ):
        pass


def test_a_result_that_does_not_cover_its_video_is_not_kept(tmp_path):
    message = "video 3: the tracker was fed 8 frames, its result has 7"
    with pytest.raises(ValueError, match=message), begun(tmp_path, {}) as run:
        run.run_missing(KnowsTheAnswer(drops_last=True), open_frames)

    @contextlib.contextmanager
    def one_short(video):
        yield (np.zeros((video.height, video.width, 3), np.uint8) for _ in range(video.length - 1))

    tracker = KnowsTheAnswer(checks_length=False)
    message = "video 3: 7 frames were read, it is annotated with 8"
    with pytest.raises(UserError, match=message), begun(tmp_path, {}) as run:
        run.run_missing(tracker, one_short)
    assert not list(tmp_path.glob("*/run.json"))


def test_frames_of_another_size_are_named(tmp_path):
    @contextlib.contextmanager
    def wrong_frames(video):
        yield (np.zeros((10, 12, 3), np.uint8) for _ in range(video.length))

    with pytest.raises(UserError, match=r"video3/00000.jpg: \(10, 12\) .*\(40, 60\)"):
        evaluate_tracker(KnowsTheAnswer(), GROUND_TRUTH, wrong_frames)
