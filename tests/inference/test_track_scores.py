"""From probabilities to records: a vote for each track, or the best (track, category) of a video."""

from __future__ import annotations

import numpy as np
import pytest

from mindvideo.inference.scoring.track_scores import BestPairs, VoteByFrame
from mindvideo.inference.trackers.windows import WindowTracker
from tests.inference.colored_videos import ColorClipNetwork, make_frame, true_masks

SIZE = (24, 32)


def scored(rule, tracks: list[list[list[float]]]):
    """Entries of tracks given as probabilities [track][frame][category]."""
    scores = []
    for frames in tracks:
        scores.append(rule.begin_track())
        for probabilities in frames:
            scores[-1].add(np.array(probabilities, np.float32))
    return [(entry.track, entry.label, pytest.approx(entry.score)) for entry in rule.entries(scores)], scores


def test_a_vote_gives_every_track_one_record() -> None:
    entries, scores = scored(VoteByFrame(), [[[0.1, 0.7], [0.1, 0.5], [0.9, 0.2]], [[0.3, 0.2]]])
    assert entries == [(0, 1, 0.7), (1, 0, 0.3)]
    assert [each.best() for each in scores] == pytest.approx([0.7, 0.3])
    assert not scores[0].add(np.array([0.0005, 0.0001], np.float32))  # no mask in such a frame


def test_the_best_pairs_give_a_track_several_categories() -> None:
    entries, scores = scored(BestPairs(pairs=3), [[[0.2, 0.6], [0.4, 0.6]], [[0.1, 0.05]], [[0.5, 0.25]]])
    assert entries == [(0, 1, 0.6), (0, 0, 0.3), (2, 0, 0.5)]  # by track, its best category first
    assert [each.best() for each in scores] == pytest.approx([0.6, 0.1, 0.5])
    assert [entry.has_masks for entry in BestPairs(pairs=9).entries(scores)] == [True] * 6
    faint = BestPairs(pairs=2).begin_track()
    faint.add(np.array([0.0009, 0.002], np.float32))
    assert [(entry.label, entry.has_masks) for entry in BestPairs(pairs=2).entries([faint])] == [(1, True), (0, False)]
    assert BestPairs(pairs=3).entries([]) == []


def test_best_pairs_over_a_video_of_many_windows() -> None:
    """Each record keeps its own track id from the first frame that tells of it to the whole video's result."""
    frames = [make_frame(index, SIZE) for index in range(23)]
    tracker = WindowTracker(
        runner=ColorClipNetwork(shuffle_seed=2),
        num_frames=6,
        prepare=lambda frame: frame,
        rule=BestPairs(pairs=5),
        repeat_short=False,
    )
    tracker.begin(size=SIZE, num_frames=len(frames), video_id=4)
    told = [result for frame in frames for result in tracker.feed(frame)]
    whole = tracker.finish()
    best = whole.scores > 0.5
    assert sorted(whole.labels[best].tolist()) == [1, 2, 3]  # 2 of the 5 pairs are other categories of these tracks
    assert len(set(whole.track_ids.tolist())) == len(whole) == 5
    for track, is_best in zip(whole.segmentations, best):  # the other two score next to nothing
        assert len(track) == len(frames) and (None not in track if is_best else set(track) == {None})
    for result in told:
        ids = dict(zip(result.labels[result.scores > 0.5].tolist(), result.track_ids[result.scores > 0.5].tolist()))
        assert ids == dict(zip(whole.labels[best].tolist(), whole.track_ids[best].tolist()))


def test_a_short_video_is_shown_as_it_is() -> None:
    network = ColorClipNetwork()
    tracker = WindowTracker(
        runner=network, num_frames=6, prepare=lambda frame: frame, rule=BestPairs(pairs=3), repeat_short=False
    )
    tracker.begin(size=SIZE, num_frames=2, video_id=1)
    for index in range(2):
        tracker.feed(make_frame(index, SIZE))
    assert len(tracker.finish()) == len(true_masks(0, SIZE)) and [len(window) for window in network.windows] == [2]
