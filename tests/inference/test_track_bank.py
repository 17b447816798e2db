"""A bank of tracks: objects that come, go and come back, in windows with and without shared frames."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from mindvideo import load_config
from mindvideo.analysis.matches import is_match_record, read_matches
from mindvideo.cli import analyze
from mindvideo.errors import UserError
from mindvideo.inference.match_record import MatchRecorder
from mindvideo.inference.scoring.clip_prediction import ClipPrediction
from mindvideo.inference.scoring.track_scores import VoteByFrame
from mindvideo.inference.trackers.linking import OverlapLinking
from mindvideo.inference.trackers.track_bank import Association, Decision, TrackBank, associate_by_cosine
from mindvideo.inference.trackers.windows import WindowTracker
from mindvideo.models.cards.linking import linking_of

T, K, SIZE = 4, 3, (8, 32)


def window(objects: list[int | None], *, score: float = 0.9, places: list[int] | None = None) -> ClipPrediction:
    """Queries that show the given objects (None: nothing) in eight columns each, with a feature vector an object."""
    Q = len(objects)
    probabilities = np.full((Q, T, K), 0.01, np.float32)
    masks = np.full((Q, T, *SIZE), -5.0, np.float32)
    features = np.zeros((Q, T, 6), np.float32)
    for query, thing in enumerate(objects):
        if thing is not None:
            column = 8 * (thing % 4 if places is None else places[query])
            masks[query, :, :, column : column + 8] = 5.0
            probabilities[query, :, 1 + thing % 2] = score
            features[query] = np.eye(6)[thing] + 0.05
    return ClipPrediction(probabilities, masks, features)


def bank(**options) -> TrackBank:
    return TrackBank(associate=associate_by_cosine, **options)


def test_objects_are_known_again_whatever_query_carries_them() -> None:
    linking = bank()
    assert linking.link(window([0, 1, 2]), 0) == [0, 1, 2]
    assert linking.link(window([2, 0, 1]), 0) == [2, 0, 1]
    # The second object is away, a fourth one comes, and the window after that shows all.
    assert linking.link(window([3, 0, 2]), 0) == [3, 0, 2]
    assert linking.link(window([1, 3, 2]), 0) == [1, 3, 2]


def test_queries_without_an_object_are_no_tracks_after_the_first_window() -> None:
    linking = bank()
    assert linking.link(window([None, 0]), 0) == [0, 1]  # as in a video of one window
    assert linking.link(window([None, 0, 1]), 0) == [None, 1, 2]
    assert linking.link(window([1], score=0.04), 0) == [None]


def test_a_window_without_any_object_ends_nothing() -> None:
    linking = bank()
    linking.link(window([0, 1]), 0)
    assert linking.link(window([None, None]), 2) == [None, None]
    assert linking.link(window([1, 0]), 2) == [1, 0]
    linking.begin()
    assert linking.link(window([None, None]), 0) == [0, 1]
    assert linking.link(window([0, 1]), 0) == [2, 3]


def test_a_new_video_knows_nothing_of_the_one_before() -> None:
    linking = bank()
    linking.link(window([0, 1]), 0)
    linking.begin()
    assert linking.link(window([1, 0]), 0) == [0, 1]


def test_the_tracks_seen_last_are_remembered() -> None:
    linking = bank(max_tracks=2)
    linking.link(window([0, 1]), 0)
    linking.link(window([1, 2]), 0)
    assert linking.link(window([2, 1, 0]), 0) == [2, 1, 3]  # the first track was forgotten
    with pytest.raises(UserError, match="max_tracks is 0"):
        bank(max_tracks=0)


def test_masks_that_overlap_go_on_whatever_the_features_say() -> None:
    linking = bank()
    linking.link(window([0, 1], places=[0, 2]), 0)
    assert linking.link(window([4, 5], places=[2, 0]), 2) == [1, 0]
    assert linking.link(window([2, 3], places=[0, 2]), 0) == [2, 3]  # no frame is shared


def test_features_are_a_moving_average() -> None:
    seen: list[Decision] = []

    def associate(history, current):
        seen.append(history.copy())
        return associate_by_cosine(history, current)

    linking = TrackBank(associate=associate, memory=0.25)
    one, other = window([0]), window([0])
    other.features[:] *= 3.0
    for each in (one, other, one):
        assert linking.link(each, 0) == [0]
    first = one.features[0, 0].astype(float)
    np.testing.assert_allclose(seen[0][0], first)
    np.testing.assert_allclose(seen[1][0], 0.25 * first + 0.75 * 3.0 * first, rtol=1e-6)


def test_frames_that_are_sure_count_more() -> None:
    def associate(history, current):
        np.testing.assert_allclose(history[0], np.array([1.0, 0.5]) * 0.9 / 1.4, atol=1e-6)
        return Association(np.ones((1, 1)), np.ones((1, 1)))

    linking = TrackBank(associate=associate)
    probabilities = np.zeros((1, 2, 2), np.float32)
    probabilities[0, :, 1] = 0.9, 0.5
    features = np.array([[[1.0, 0.5], [0.0, 0.0]]], np.float32)
    given = ClipPrediction(probabilities, np.ones((1, 2, 2, 2), np.float32), features)
    linking.link(given, 0)
    linking.link(given, 0)


def test_what_was_decided_can_be_observed() -> None:
    seen: list[Decision] = []
    linking = bank(observe=seen.append)
    linking.link(window([0, 1]), 0)
    linking.link(window([1, 0]), 2)
    [decision] = seen
    assert decision.tracks == [0, 1] and decision.queries == [0, 1] and decision.accepted == {0: 1, 1: 0}
    assert decision.affinity.shape == decision.assignment.shape == decision.overlap.shape == (2, 2)


def test_features_of_nan_are_refused() -> None:
    given = window([0])
    given.features[0, 1, 2] = np.nan
    with pytest.raises(UserError, match="not finite"):
        ClipPrediction(given.probabilities, given.mask_logits, given.features)


def test_a_network_without_features_is_told() -> None:
    given = window([0])
    with pytest.raises(UserError, match="set inference.linking=overlap"):
        bank().link(ClipPrediction(given.probabilities, given.mask_logits), 0)


def test_a_track_that_comes_back_is_one_track_with_a_gap() -> None:
    """Objects by frame: 0 all the time, 1 in the first and the last four frames; windows share no frames."""
    shown = [[0, 1], [None, 0], [1, 0]]
    windows = iter(window(objects) for objects in shown)
    tracker = WindowTracker(
        runner=lambda frames: next(windows),
        num_frames=T,
        prepare=lambda frame: frame,
        rule=VoteByFrame(),
        overlap=0.0,
        linking=bank(),
    )
    tracker.begin(size=SIZE, num_frames=3 * T, video_id=1)
    emitted = [each for _ in range(3 * T) for each in tracker.feed(np.zeros((*SIZE, 3), np.uint8))]
    video = tracker.finish()
    assert video.labels.tolist() == [2, 1] and sorted(video.track_ids.tolist()) == [1, 2]
    seen = [[index for index, mask in enumerate(track) if mask is not None] for track in video.segmentations]
    assert seen == [[0, 1, 2, 3, 8, 9, 10, 11], list(range(12))]
    np.testing.assert_allclose(video.scores, 0.9, rtol=1e-6)
    assert [each.track_ids.tolist() for each in emitted] == [[1, 2]] * 4 + [[1]] * 4 + [[2, 1]] * 4


def test_a_video_of_one_window_is_the_same_with_every_linking() -> None:
    results = []
    for linking in (OverlapLinking(), bank()):
        tracker = WindowTracker(
            runner=lambda frames: window([1, None, 0]),
            num_frames=T,
            prepare=lambda frame: frame,
            rule=VoteByFrame(),
            linking=linking,
        )
        tracker.begin(size=SIZE, num_frames=3, video_id=1)
        for _ in range(3):
            tracker.feed(np.zeros((*SIZE, 3), np.uint8))
        results.append(tracker.finish().to_results())
    assert results[0] == results[1] and len(results[0]) == 2


def test_matched_windows_are_recorded_and_drawn(tmp_path, monkeypatch, capsys) -> None:
    recorder = MatchRecorder(tmp_path / "seen")
    shown = iter(window(objects) for objects in ([0, 1], [None, 0], [1, 0]))
    tracker = WindowTracker(
        runner=lambda frames: next(shown),
        num_frames=T,
        prepare=lambda frame: frame,
        rule=VoteByFrame(),
        overlap=0.5,
        linking=bank(observe=recorder.observe),
        observer=recorder,
    )
    tracker.begin(size=SIZE, num_frames=2 * T, video_id="clip")
    for _ in range(2 * T):
        tracker.feed(np.zeros((*SIZE, 3), np.uint8))
    video = tracker.finish()
    path = tmp_path / "seen" / "clip.npz"
    assert is_match_record(path) and not is_match_record(tmp_path / "none.npz")
    windows = read_matches(path)
    assert [each.tracks.shape + each.queries.shape for each in windows] == [(2, 1), (2, 2)]
    assert set(windows[1].tracks.tolist()) == set(video.track_ids.tolist())
    assert windows[0].accepted.sum() == 1 and windows[1].accepted.sum() == 2
    monkeypatch.setattr(sys, "argv", ["analyze.py", str(path), "--output", str(tmp_path)])
    assert analyze.main() == 0
    assert "2 of 2 windows that were matched" in capsys.readouterr().out
    with Image.open(tmp_path / "matches.png") as picture:
        assert min(picture.size) > 200


def test_the_key_chooses_the_linking_and_graphs_need_a_model_of_them() -> None:
    assert isinstance(linking_of(load_config("vistr"))["linking"], OverlapLinking)  # as published
    chosen = linking_of(load_config("seqformer_toy", ["inference.linking=features", "inference.bank_tracks=3"]))
    assert isinstance(chosen["linking"], TrackBank) and chosen["observer"] is None
    with pytest.raises(UserError, match="family vistr matches no graphs; choose overlap or features"):
        linking_of(load_config("vistr_toy", ["inference.linking=graph"]))
    with pytest.raises(UserError, match="inference.link_similarity"):
        load_config("vistr_toy", ["inference.linking=features", "inference.link_similarity=0.5"])
