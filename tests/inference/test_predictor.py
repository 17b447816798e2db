"""Predictor: every frame exactly once, paired with its own instances, however late they become final."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mindvideo.errors import UserError
from mindvideo.inference.predictor import Predictor
from mindvideo.inference.scoring.track_scores import VoteByFrame
from mindvideo.inference.trackers.windows import WindowTracker
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
            yield np.array(make_frame(index)).view(CountedFrame)

    predictor = Predictor(tracker=_window_tracker(), read_ahead=4)
    assert sum(1 for _ in predictor.track(frames())) == 300
    assert most <= 6 + 6 + 4 + 6  # window, frames waiting for theirs, queue, and those in between
