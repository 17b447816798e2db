"""Windows of T frames: the original's result on short videos, the right tracks and bounded memory on long ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mindvideo.inference.scoring.clip_prediction import ClipPrediction, ClipRunner
from mindvideo.inference.scoring.track_scores import VoteByFrame
from mindvideo.inference.trackers.linking import OverlapLinking
from mindvideo.inference.trackers.sliding_windows import SlidingWindows
from mindvideo.inference.trackers.tracker import MAX_ENDED_TRACKS, frame_of
from mindvideo.inference.trackers.windows import WindowTracker
from tests.inference.colored_videos import ColorClipNetwork, make_frame, true_masks

SIZE = (24, 32)


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def window_tracker(runner: ClipRunner, num_frames: int, **options: float) -> WindowTracker:
    """Over frames as they are."""
    return WindowTracker(
        runner=runner, num_frames=num_frames, prepare=lambda frame: frame, rule=VoteByFrame(), **options
    )


def _track(tracker: WindowTracker, frames: list[np.ndarray], video_id: int = 1):
    tracker.begin(size=frames[0].shape[:2], num_frames=len(frames), video_id=video_id)
    emitted = [result for frame in frames for result in tracker.feed(frame)]
    whole = tracker.finish()
    return emitted, whole


# ---- the original's numbers --------------------------------------------------------------------------------------


def _golden_videos(golden: Path) -> list[tuple[dict, dict, dict]]:
    facts = json.loads((golden / "vistr" / "postprocess.json").read_text())
    arrays = np.load(golden / "vistr" / "postprocess.npz")
    return [(facts, video, arrays) for video in facts["videos"]]


def test_results_of_the_original_inference(golden: Path) -> None:
    for facts, video, arrays in _golden_videos(golden):
        T, N, name = facts["num_frames"], facts["num_ins"], video["id"]
        probabilities = _softmax(arrays[f"logits_{name}"][0])[:, :-1].reshape(T, N, -1).transpose(1, 0, 2)
        masks = arrays[f"masks_{name}"][0]
        masks = masks.reshape(T, N, *masks.shape[1:]).transpose(1, 0, 2, 3)
        prediction = ClipPrediction(np.ascontiguousarray(probabilities), np.ascontiguousarray(masks))
        tracker = WindowTracker(
            runner=lambda _, fixed=prediction: fixed, num_frames=T, prepare=lambda frame: frame, rule=VoteByFrame()
        )
        frames = [np.zeros((video["height"], video["width"], 3), np.uint8)] * video["length"]
        found = _track(tracker, frames, name)[1].to_results()
        expected = [record for record in facts["results"] if record["video_id"] == name]
        assert [record["category_id"] for record in found] == [record["category_id"] for record in expected]
        for ours, theirs in zip(found, expected):
            assert ours["score"] == pytest.approx(theirs["score"], abs=1e-6)
            assert len(ours["segmentations"]) == len(theirs["segmentations"]) == video["length"]
            for mask, wanted in zip(ours["segmentations"], theirs["segmentations"]):
                assert (mask is None) == (wanted is None)
                if mask is not None:
                    different = coco_mask.decode(mask) != coco_mask.decode(wanted)
                    assert different.sum() <= 1  # one logit of the golden lies within rounding of zero


# ---- videos longer than a window ---------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [6, 7, 9, 11, 23])
@pytest.mark.parametrize("overlap", [1 / 3, 0.5])
def test_tracks_run_through_windows_whatever_the_order_of_their_slots(length: int, overlap: float) -> None:
    network = ColorClipNetwork(shuffle_seed=length)
    tracker = WindowTracker(
        runner=network, num_frames=6, prepare=lambda frame: frame, rule=VoteByFrame(), overlap=overlap
    )
    emitted, whole = _track(tracker, [make_frame(index, SIZE) for index in range(length)])

    assert all(window.shape[0] == 6 for window in network.windows)
    assert whole.num_frames == length
    assert sorted(whole.labels.tolist()) == [1, 2, 3]
    np.testing.assert_allclose(whole.scores, 0.9, rtol=1e-6)
    for label, frames in zip(whole.labels.tolist(), whole.segmentations):
        for index, segmentation in enumerate(frames):
            np.testing.assert_array_equal(coco_mask.decode(segmentation), true_masks(index, SIZE)[label])
    # The early results are those of the end.
    for index, result in enumerate(emitted):
        final = frame_of(whole, index)
        early = dict(zip(result.track_ids.tolist(), result.segmentations))
        assert early == dict(zip(final.track_ids.tolist(), final.segmentations))


def test_a_frame_is_read_from_the_window_in_which_it_is_farther_from_the_border() -> None:
    """Windows of six frames, of which the next one sees two again: the first of them is read here, the second there."""
    windows = SlidingWindows(runner=ColorClipNetwork(), num_frames=6, overlap=1 / 3, repeat_short=True)
    windows.begin()
    readings = [windows.feed(make_frame(index, SIZE)) for index in range(15)] + [windows.finish()]
    read = [(reading.start, list(reading.frames), reading.shared) for reading in readings if reading is not None]
    assert read == [(0, [0, 1, 2, 3, 4], 0), (4, [5, 6, 7, 8], 2), (8, [9, 10, 11, 12], 2), (9, [13, 14], 5)]
    assert [list(reading.places()) for reading in readings if reading is not None][1] == [1, 2, 3, 4]


def test_frames_become_final_as_windows_pass_and_few_are_kept() -> None:
    tracker = WindowTracker(
        runner=ColorClipNetwork(), num_frames=6, prepare=lambda frame: frame, rule=VoteByFrame(), overlap=1 / 3
    )
    tracker.begin(size=SIZE, num_frames=None, video_id=1)
    emitted = 0
    for index in range(60):
        emitted += len(tracker.feed(make_frame(index, SIZE)))
        assert index + 1 - emitted <= 6
        assert len(tracker.windows.frames) <= 6
    assert emitted >= 54


def test_an_object_that_leaves_ends_and_one_that_comes_begins() -> None:
    frames = [make_frame(index, SIZE, absent=(3,) if index < 20 else (2,)) for index in range(40)]
    tracker = WindowTracker(
        runner=ColorClipNetwork(shuffle_seed=3), num_frames=6, prepare=lambda frame: frame, rule=VoteByFrame()
    )
    whole = _track(tracker, frames)[1]
    assert sorted(whole.labels.tolist()) == [1, 2, 3]
    for label, segmentations in zip(whole.labels.tolist(), whole.segmentations):
        seen = [index for index, mask in enumerate(segmentations) if mask is not None]
        assert seen == {1: list(range(40)), 2: list(range(20)), 3: list(range(20, 40))}[label]


def test_short_videos_repeat_cyclically() -> None:
    network = ColorClipNetwork()
    tracker = window_tracker(network, 7)
    frames = [make_frame(index, SIZE) for index in range(3)]
    emitted, whole = _track(tracker, frames)
    assert emitted == [] and whole.num_frames == 3 and len(network.windows) == 1
    np.testing.assert_array_equal(network.windows[0], np.stack([frames[i] for i in (0, 1, 2, 0, 1, 2, 0)]))


def test_swapped_categories_do_not_link_when_the_overlap_is_poor() -> None:
    masks = np.full((1, 4, 8, 8), -1.0, np.float32)
    masks[:, :, :4] = 1.0
    moved = np.full((1, 4, 8, 8), -1.0, np.float32)
    moved[:, :, 2:6] = 1.0  # overlap 1/3
    cat, dog = np.zeros((2, 1, 4, 3), np.float32)
    cat[..., 1] = dog[..., 2] = 0.8
    links = [
        OverlapLinking(min_similarity=0.25).pairs(ClipPrediction(cat, masks), ClipPrediction(other, moved), 2)
        for other in (cat, dog)
    ]
    assert links == [{0: 0}, {}]


def test_linking_is_an_argument() -> None:
    class Never:
        """Every window begins its own tracks."""

        def __init__(self) -> None:
            self.shared: list[int] = []

        def begin(self) -> None:
            self.shared.clear()

        def link(self, window: ClipPrediction, shared: int) -> list[int]:
            assert window.probabilities.shape[1] == 6
            self.shared.append(shared)
            return [100 * len(self.shared) + query for query in range(len(window.probabilities))]

    linking = Never()
    tracker = WindowTracker(
        runner=ColorClipNetwork(), num_frames=6, prepare=lambda frame: frame, rule=VoteByFrame(), linking=linking
    )
    whole = _track(tracker, [make_frame(index, SIZE) for index in range(15)])[1]
    assert linking.shared == [0, 2, 2, 5]  # the last window is moved back so that it is full
    assert sorted(whole.labels.tolist()) == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]


def test_the_number_of_ended_tracks_is_bounded() -> None:
    class Restless:
        """Finds one object in each window, never where it was before."""

        calls = 0

        def __call__(self, frames: np.ndarray) -> ClipPrediction:
            self.calls += 1
            logits = np.full((1, 2, *SIZE), -1.0, np.float32)
            logits[:, :, self.calls % SIZE[0]] = 1.0
            return ClipPrediction(np.full((1, 2, 2), 0.001 * self.calls, np.float32), logits)

    tracker = window_tracker(Restless(), 2)
    whole = _track(tracker, [make_frame(0, SIZE)] * 300)[1]
    assert len(whole) <= MAX_ENDED_TRACKS + 1
    assert whole.scores.min() > 0.001 * 40  # the weakest went


def test_finish_without_frames_says_so() -> None:
    tracker = window_tracker(ColorClipNetwork(), 2)
    tracker.begin(size=SIZE, num_frames=None, video_id=5)
    with pytest.raises(ValueError, match="before any frame"):
        tracker.finish()
