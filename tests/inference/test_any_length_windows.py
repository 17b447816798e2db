"""Families of windows on videos in which objects come and go: tracks live from frame to frame.

What the command makes of it is in test_any_length_errand.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mindvideo import load_config
from mindvideo.assembly.network import for_videos, tracker_of
from mindvideo.inference.scoring.track_scores import VoteByFrame
from mindvideo.inference.trackers.any_length_windows import AnyLengthWindows
from mindvideo.inference.trackers.lives import LifeRules
from mindvideo.inference.trackers.tracker import frame_of
from mindvideo.inference.trackers.windows import WindowTracker
from mindvideo.models.registry import card_of
from tests.inference.colored_videos import ColorClipNetwork, make_frame, true_masks

SIZE = (24, 32)
T = 6


def tracker(rules: LifeRules | None = None, *, overlap: float = 1 / 3) -> AnyLengthWindows:
    return WindowTracker(
        runner=ColorClipNetwork(shuffle_seed=1),
        num_frames=T,
        prepare=lambda frame: frame,
        rule=VoteByFrame(),
        overlap=overlap,
        rules=rules,
    ).of_any_length()


def track(frames: list[np.ndarray], made: AnyLengthWindows):
    made.begin(size=SIZE, num_frames=len(frames), video_id="v")
    early = [result for frame in frames for result in made.feed(frame)]
    return early, made.finish()


@pytest.mark.parametrize("overlap", [0.0, 1 / 3, 0.7])
@pytest.mark.parametrize("length", [1, 5, 6, 7, 23])
def test_tracks_begin_and_end_in_any_frame(length: int, overlap: float) -> None:
    """Green enters in frame 2, blue leaves before frame 15, both within a window; every mask is the object's."""
    absent = [((2,) if index < 2 else ()) + ((3,) if index >= 15 else ()) for index in range(length)]
    frames = [make_frame(index, SIZE, gone) for index, gone in enumerate(absent)]
    early, whole = track(frames, tracker(overlap=overlap))
    assert whole.num_frames == length and len(early) <= length
    assert sorted(whole.labels.tolist()) == ([1, 3] if length < 3 else [1, 2, 3])
    for label, masks in zip(whole.labels.tolist(), whole.segmentations):
        for index, mask in enumerate(masks):
            truth = true_masks(index, SIZE, absent[index]).get(label)
            assert (mask is None) == (truth is None)
            if truth is not None:
                np.testing.assert_array_equal(coco_mask.decode(mask), truth)
    for index, result in enumerate(early):
        final = frame_of(whole, index)
        assert dict(zip(result.track_ids.tolist(), result.segmentations)) == dict(
            zip(final.track_ids.tolist(), final.segmentations)
        )


def test_an_object_that_comes_back_windows_later_is_itself_and_after_the_gap_another_one() -> None:
    frames = [make_frame(index, SIZE, (2,) if 4 <= index < 24 else ()) for index in range(30)]
    assert sorted(track(frames, tracker())[1].labels.tolist()) == [1, 2, 3]
    assert sorted(track(frames, tracker(LifeRules(max_gap=10)))[1].labels.tolist()) == [1, 2, 2, 3]


def test_frames_become_final_as_windows_pass_and_few_are_kept() -> None:
    made = tracker()
    made.begin(size=SIZE, num_frames=None, video_id=1)
    final = 0
    for index in range(60):
        final += len(made.feed(make_frame(index, SIZE)))
        assert index + 1 - final == len(made._pictures) <= T and len(made.windows.frames) <= T
    assert final >= 54


def test_a_second_video_knows_nothing_of_the_first() -> None:
    made = tracker()
    first = track([make_frame(index, SIZE, (1,)) for index in range(9)], made)[1]
    second = track([make_frame(index, SIZE, (2, 3)) for index in range(9)], made)[1]
    assert first.labels.tolist() == [2, 3] and second.labels.tolist() == [1] and second.track_ids.tolist() == [1]


def test_a_video_without_a_frame_is_refused() -> None:
    made = tracker()
    made.begin(size=SIZE, num_frames=0, video_id="empty")
    with pytest.raises(ValueError, match="video empty: finish"):
        made.finish()


@pytest.mark.parametrize("name", ["vistr_toy", "defvistr_toy", "gmpvis_toy", "seqformer_toy", "mssts_toy"])
def test_families_of_windows_take_it_for_the_videos_of_users(name: str) -> None:
    cfg = load_config(name, ["inference.scene_cuts=nowhere", "inference.max_gap=7"])
    published = tracker_of(cfg, card_of(cfg.family).build_network(cfg))
    made = for_videos(cfg, published, evaluated=False)
    assert isinstance(made, AnyLengthWindows) and made.rules.max_gap == 7
    assert for_videos(cfg, published, evaluated=True) is published
