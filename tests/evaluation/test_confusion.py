"""The confusion matrix of classes: each object once, and nothing for what is counted elsewhere."""

from __future__ import annotations

from mindvideo.evaluation.confusion import confusion
from mindvideo.evaluation.error_kinds import DetectionVerdict, VideoVerdict

NAMES = {3: "dog", 5: "cat", 9: "cow"}


def track(label: int, kind: str, truth: int | None, score: float = 0.9) -> DetectionVerdict:
    return DetectionVerdict(row=0, label=label, score=score, kind=kind, truth=truth, iou=0.8)


def of(detections, truth_labels, states):
    verdict = VideoVerdict(tuple(detections), tuple(truth_labels), tuple(states))
    return confusion({1: verdict}, NAMES, confidence=0.3)


def test_objects_count_once_and_for_their_right_track():
    tracks = [track(5, "wrong class", 0, 0.99), track(3, "right", 0, 0.5), track(3, "duplicate", 0)]
    found = of(tracks, [3], ["right"])
    assert found.counts.tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert found.mixed_up == 0


def test_other_classes_misses_and_tracks_on_nothing():
    tracks = [track(5, "wrong class", 0, 0.8), track(9, "wrong class", 0, 0.9), track(9, "false", None)]
    tracks += [track(5, "right", 1, 0.2), track(5, "poor mask", 1, 0.9), track(9, "ignored", 2)]
    found = of(tracks, [3, 5, 9], ["wrong class", "right", "ignored"])
    # The dog goes to the surest of two; the cat's right track scores too little; the crowd does not count.
    assert found.counts.tolist() == [[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0]]
    assert found.mixed_up == 1


def test_of_many_classes_those_that_are_mixed_up_are_kept():
    tracks = [track(3, "right", 0), track(9, "wrong class", 1), track(9, "right", 2)]
    found = of(tracks, [3, 5, 9], ["right", "wrong class", "right"])
    assert found.of_most_mixed_up(2).categories == (5, 9)
    assert found.of_most_mixed_up(2).counts.tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 0]]
    one = found.of_most_mixed_up(1)
    assert one.categories == (5,) and one.counts.tolist() == [[0, 1], [0, 0]]  # its cow is left out
    assert found.of_most_mixed_up(10).categories == (3, 5, 9)
