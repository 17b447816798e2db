"""Each kind of error made on purpose, and what it costs."""

from __future__ import annotations

import numpy as np
import pytest

from mindvideo.evaluation.error_kinds import KINDS
from mindvideo.evaluation.evaluator import Evaluation, evaluate_results
from mindvideo.evaluation.ground_truth import parse_ground_truth
from mindvideo.evaluation.results_json import ResultsInMemory
from tests.evaluation import scenes

LENGTH = 12
SCENE = {1: [(1, scenes.moving(2, 2, length=LENGTH)), (2, scenes.moving(30, 22, length=LENGTH))]}
FIRST, SECOND = SCENE[1][0][1], SCENE[1][1][1]
ABSENT = [None] * LENGTH


def evaluate(records: list[dict]) -> Evaluation:
    content = scenes.annotations(SCENE)
    return evaluate_results(parse_ground_truth(content), ResultsInMemory(records))


def shifted(boxes: scenes.Boxes, by: int) -> scenes.Boxes:
    return [(x + by, y, width, height) for x, y, width, height in boxes]


RIGHT_SECOND = scenes.record(1, 2, SECOND)
FAULTS = {
    "missed": [],
    "wrong class": [scenes.record(1, 3, FIRST)],
    "swapped identity": [scenes.record(1, 1, FIRST[:6] + SECOND[6:])],
    "split": [scenes.record(1, 1, FIRST[:4] + ABSENT[4:])],
    "poor mask": [scenes.record(1, 1, shifted(FIRST, 6))],
    "duplicate": [scenes.record(1, 1, FIRST), scenes.record(1, 1, FIRST, 0.8)],
    "false": [scenes.record(1, 1, FIRST), scenes.record(1, 1, scenes.moving(2, 25, length=LENGTH), 0.95)],
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_has_its_name_and_no_other(kind):
    counts = evaluate([RIGHT_SECOND, *FAULTS[kind]]).errors.counts
    assert counts == {**dict.fromkeys(KINDS, 0), kind: 1}


@pytest.mark.parametrize("kind", FAULTS)
def test_putting_the_fault_right_restores_the_figure(kind):
    errors = evaluate([RIGHT_SECOND, *FAULTS[kind]]).errors
    others = {other: cost for other, cost in errors.costs.items() if other != kind}
    assert set(others.values()) == {0.0}
    # A duplicate below every right detection costs nothing. Without the missed object class 1 has nothing to score.
    gain = {"missed": 0.5, "duplicate": 0.0, "false": 0.25}.get(kind, 0.5)
    assert errors.costs[kind] == pytest.approx(gain)
    assert errors.ap50 + errors.costs[kind] == pytest.approx(1.0)


def test_two_pieces_of_a_track_are_both_split():
    pieces = [scenes.record(1, 1, FIRST[:5] + ABSENT[5:]), scenes.record(1, 1, ABSENT[:9] + FIRST[9:], 0.7)]
    evaluation = evaluate([RIGHT_SECOND, *pieces])
    assert evaluation.errors.counts["split"] == 2
    assert evaluation.verdicts[1].truth_states == ("split", "right")


def test_the_costs_are_those_of_whole_evaluations():
    """Dropping false tracks from the file by hand gives what the cost of 'false' says."""
    records = [RIGHT_SECOND, *FAULTS["false"], *FAULTS["duplicate"][1:]]
    errors = evaluate(records).errors
    without = evaluate([record for record in records if record["score"] != 0.95])
    assert errors.ap50 + errors.costs["false"] == pytest.approx(without.metrics()["AP50"])


def test_quality_of_a_video():
    perfect = evaluate([RIGHT_SECOND, scenes.record(1, 1, FIRST)]).verdicts[1]
    assert perfect.quality(0.3) == pytest.approx(1.0)
    assert evaluate([RIGHT_SECOND]).verdicts[1].quality(0.3) == pytest.approx(1 / 1.5)
    one_false = evaluate([RIGHT_SECOND, *FAULTS["false"]]).verdicts[1]
    assert one_false.quality(0.3) == pytest.approx(2 / 2.5)
    assert one_false.quality(0.99) == 0.0
    assert np.isclose(one_false.quality(0.92), 0.0)  # only the false one is left
