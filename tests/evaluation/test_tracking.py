"""HOTA, IDF1 and switches: equal to TrackEval's on stored cases, and what they must do by their meaning."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mindvideo.evaluation.evaluator import evaluate_results
from mindvideo.evaluation.ground_truth import read_ground_truth
from mindvideo.evaluation.results_json import ResultsFile
from mindvideo.evaluation.tracking import count_sequence

HERE = Path(__file__).resolve().parent
EXPECTED = json.loads((HERE / "fixtures" / "tracking.json").read_text(encoding="utf-8"))
T, OBJECTS = 12, 3


@pytest.mark.parametrize("case", EXPECTED)
def test_they_are_those_of_trackeval(case):
    folder = HERE.parent / "golden" / "ytvis_eval"
    labelled = read_ground_truth(folder / f"{case}.gt.json.gz")
    results = ResultsFile(folder / f"{case}.dt.json.gz")
    tracking = evaluate_results(labelled, results, confidence=EXPECTED[case]["confidence"]).metrics()["tracking"]
    for name, value in EXPECTED[case]["figures"].items():
        assert tracking[name] == pytest.approx(value, abs=1e-12), name


def everywhere(count: int) -> np.ndarray:
    return np.ones((T, count), bool)


def test_perfect_tracks_score_one_in_everything():
    similarity = np.broadcast_to(np.eye(OBJECTS), (T, OBJECTS, OBJECTS))
    figures = count_sequence(similarity, everywhere(OBJECTS), everywhere(OBJECTS)).figures()
    assert figures == {"HOTA": 1.0, "DetA": 1.0, "AssA": 1.0, "IDF1": 1.0, "switches": 0}


def test_two_objects_that_swap_tracks_halfway_keep_detection_and_lose_association():
    similarity = np.zeros((T, 2, 2))
    similarity[: T // 2] = np.eye(2)
    similarity[T // 2 :] = np.eye(2)[::-1]
    figures = count_sequence(similarity, everywhere(2), everywhere(2)).figures()
    assert figures["DetA"] == 1.0 and figures["switches"] == 2
    assert figures["IDF1"] == 0.5 and figures["AssA"] == pytest.approx(1 / 3)


def test_a_track_that_comes_back_after_a_gap_is_no_switch():
    similarity = np.ones((T, 1, 1))
    tracks = everywhere(1)
    tracks[4:7] = False
    counts = count_sequence(np.where(tracks[:, :, None], similarity, 0.0), everywhere(1), tracks)
    assert counts.switches == 0 and counts.missed[0] == 3


def test_videos_without_objects_or_tracks():
    only_objects = count_sequence(np.zeros((T, 2, 0)), everywhere(2), everywhere(0))
    only_tracks = count_sequence(np.zeros((T, 0, 2)), everywhere(0), everywhere(2))
    assert only_objects.id_missed == only_tracks.id_false == 2 * T
    assert (only_objects + only_tracks).figures() == {"HOTA": 0.0, "DetA": 0.0, "AssA": 0.0, "IDF1": 0.0, "switches": 0}


def test_the_order_of_tracks_changes_nothing():
    rng = np.random.default_rng(5)
    similarity = rng.random((T, OBJECTS, 4))
    tracks, objects = rng.random((T, 4)) < 0.8, rng.random((T, OBJECTS)) < 0.8
    order = rng.permutation(4)
    given = count_sequence(similarity, objects, tracks).figures()
    permuted = count_sequence(similarity[:, :, order], objects, tracks[:, order]).figures()
    assert permuted == pytest.approx(given)
