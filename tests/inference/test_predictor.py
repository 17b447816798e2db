"""Predictor: every frame exactly once, paired with its own instances, however late they become final."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mindvideo.data.media.reader import VideoReader
from mindvideo.errors import UserError
from mindvideo.inference.predictor import Predictor
from mindvideo.inference.scoring.track_scores import VoteByFrame
from mindvideo.inference.trackers.windows import WindowTracker
from mindvideo.structures import Frame
from tests.inference.colored_videos import (
    ColorClipNetwork,
    ColorTracker,
    make_frame,
    true_masks,
    write_frame_folder,
    write_video,
)


def _window_tracker() -> WindowTracker:
    return WindowTracker(
        runner=ColorClipNetwork(shuffle_seed=1), num_frames=6, prepare=lambda frame: frame, rule=VoteByFrame()
    )


@pytest.mark.parametrize("tracker", [ColorTracker(), ColorTracker(delay=5), _window_tracker()])
@pytest.mark.parametrize("length", [1, 4, 6, 23])
def test_frames_and_instances_belong_together(tmp_path: Path, tracker, length: int) -> None:
    predictor = Predictor(tracker=tracker)
    folder = write_frame_folder(tmp_path / "clip", length)
    seen = 0
    for frame, instances in predictor.track_frames(folder, video_id=7):
        assert frame.index == seen and instances.num_frames == 1 and instances.video_id == 7
        found = dict(zip(instances.labels.tolist(), instances.segmentations))
        assert sorted(found) == [1, 2, 3]
        for category, mask in true_masks(seen).items():
            np.testing.assert_array_equal(coco_mask.decode(found[category][0]), mask)
        seen += 1
    assert seen == length == predictor.result.num_frames


def test_sources(tmp_path: Path) -> None:
    predictor = Predictor(tracker=ColorTracker(), class_names={1: "ball"})
    assert len(list(predictor.track(write_video(tmp_path / "clip.mp4", 7)))) == 7
    assert len(list(predictor.track(write_frame_folder(tmp_path / "clip", 7), frames="1::2"))) == 3
    assert len(list(predictor.track([make_frame(index) for index in range(5)]))) == 5
    assert len(list(predictor.track(make_frame(index) for index in range(4)))) == 4
    assert predictor.result.num_frames == 4
    write_frame_folder(tmp_path / "more" / "a", 1)
    write_frame_folder(tmp_path / "more" / "b", 1)
    for source, message in (
        (tmp_path / "more", "names 2 videos"),
        ([], "no frames were given"),
        ([np.zeros((4, 4), np.uint8)], r"expected uint8 RGB \[H, W, 3\]"),
        ([make_frame(0), make_frame(0, (9, 9))], "9x9 pixels, but the video began with 32x24"),
    ):
        with pytest.raises(UserError, match=message):
            list(predictor.track(source))
    with pytest.raises(UserError, match="iterate over track"):
        _ = predictor.result


def test_leaving_the_loop_early_leaves_no_thread() -> None:
    predictor = Predictor(tracker=ColorTracker())
    before = threading.active_count()
    tracked = predictor.track(make_frame(index) for index in range(1000))
    next(tracked)
    tracked.close()
    assert threading.active_count() == before


def test_a_buffer_that_is_filled_again_and_again() -> None:
    def frames():
        buffer = np.zeros((24, 32, 3), np.uint8)
        for index in range(20):
            buffer[:] = make_frame(index)
            yield buffer

    for tracker in (ColorTracker(delay=5), _window_tracker()):
        predictor = Predictor(tracker=tracker)
        for index, (frame, instances) in enumerate(predictor.track_frames(frames())):
            np.testing.assert_array_equal(frame.image, make_frame(index))
            found = dict(zip(instances.labels.tolist(), instances.segmentations))
            for category, mask in true_masks(index).items():
                np.testing.assert_array_equal(coco_mask.decode(found[category][0]), mask)
        assert predictor.result.num_frames == 20


def test_one_video_at_a_time() -> None:
    predictor = Predictor(tracker=ColorTracker())
    frames = [make_frame(index) for index in range(6)]
    message = "this predictor is tracking another video: .* a second predictor"
    outer = predictor.track(frames)
    next(outer)
    with pytest.raises(UserError, match=message) as caught:
        next(predictor.track(frames))
    assert "\n" not in str(caught.value)
    problems: list[Exception] = []

    def on_another_thread() -> None:
        try:
            list(predictor.track(frames))
        except UserError as error:
            problems.append(error)

    thread = threading.Thread(target=on_another_thread)
    thread.start()
    thread.join()
    assert len(problems) == 1
    assert len(list(outer)) == 5 and predictor.result.num_frames == 6  # the first loop was not disturbed
    left = predictor.track(frames)
    next(left)
    left.close()
    assert len(list(predictor.track(frames))) == 6
    with pytest.raises(UserError, match="expected uint8"):
        list(predictor.track([np.zeros(3)]))
    assert len(list(predictor.track(frames))) == 6  # an error frees it too


def test_two_predictors_do_not_disturb_each_other() -> None:
    first, second = (Predictor(tracker=ColorTracker(delay=2)) for _ in range(2))
    pairs = list(zip(first.track([make_frame(0)] * 5), second.track([make_frame(1)] * 5)))
    assert len(pairs) == 5
    results = []

    def on_its_own() -> None:
        results.append(len(list(Predictor(tracker=ColorTracker()).track([make_frame(0)] * 30))))

    threads = [threading.Thread(target=on_its_own) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [30] * 4


@pytest.mark.parametrize("source", [None, 3, b"clip.mp4", {"a": 1}])
def test_odd_sources_are_told_what_is_taken(source) -> None:
    with pytest.raises(UserError, match=r"track\(\) takes a video file, .*an iterable of uint8 RGB arrays"):
        list(Predictor(tracker=ColorTracker()).track(source))


def test_outputs_that_are_not_finite_are_not_nothing() -> None:
    class Diverged(ColorClipNetwork):
        def __call__(self, frames):
            prediction = super().__call__(frames)
            getattr(prediction, self.what).flat[3] = np.nan
            return type(prediction)(prediction.probabilities, prediction.mask_logits)

    for what in ("probabilities", "mask_logits"):
        network = Diverged()
        network.what = what
        tracker = WindowTracker(runner=network, num_frames=6, prepare=lambda frame: frame, rule=VoteByFrame())
        with pytest.raises(UserError, match="outputs are not finite .* earlier checkpoint"):
            list(Predictor(tracker=tracker).track([make_frame(0)] * 6))


def test_memory_is_that_of_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long video only as many frames are alive as a window and the queues hold."""
    alive, most = 0, 0
    lock = threading.Lock()

    class CountedFrame(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            with lock:
                alive -= 1

    def frames():
        nonlocal alive, most
        for index in range(300):
            with lock:
                alive += 1
                most = max(most, alive)
            yield Frame(np.array(make_frame(index)).view(CountedFrame), index, "frame")

    class Counted(VideoReader):
        name, size, num_frames, frames_per_second = "counted", (24, 32), 300, 10.0

        def decode(self):
            return frames()

    predictor = Predictor(tracker=_window_tracker(), read_ahead=4)
    assert sum(1 for _ in predictor.track(Counted())) == 300
    assert most <= 6 + 6 + 4 + 6  # window, frames waiting for theirs, queue, and those in between
