"""Occlusion levels and long videos."""

from __future__ import annotations

import json

import pytest

from mindvideo.errors import UserError
from mindvideo.evaluation.evaluator import evaluate_results
from mindvideo.evaluation.ground_truth import parse_ground_truth
from mindvideo.evaluation.results_json import ResultsInMemory
from mindvideo.evaluation.splits import LengthRules, long_videos, occlusion_level
from tests.evaluation import scenes

NONE, SLIGHT, SEVERE = "no_occlusion", "slight_occlusion", "severe_occlusion"


@pytest.mark.parametrize(
    ("names", "level"),
    [
        ([NONE, NONE], "slight"),
        ([SLIGHT, SLIGHT], "slight"),  # a mean of 0.25 belongs to slight
        ([SLIGHT, SEVERE], "moderate"),  # 0.5 belongs to moderate
        ([SEVERE, SEVERE, SLIGHT], "heavy"),
        ([None, SEVERE, None], "heavy"),
        ([None], None),
        (None, None),
    ],
)
def test_levels(names, level):
    assert occlusion_level(names) == level


def test_an_unknown_name_is_refused():
    with pytest.raises(UserError, match="'some' in frame 1: expected one of no_occlusion"):
        occlusion_level([NONE, "some"])


def test_each_level_is_scored_with_its_own_objects():
    content = scenes.annotations()
    levels = [SLIGHT, SEVERE, NONE, SLIGHT, SEVERE, SEVERE, NONE]
    for entry, name in zip(content["annotations"], levels):
        entry["occlusion"] = [name] * scenes.LENGTH
    found = [record for record, name in zip(scenes.perfect(), levels) if name != SEVERE]
    metrics = evaluate_results(parse_ground_truth(content), ResultsInMemory(found)).metrics()
    assert metrics["occlusion"]["slight"]["AP"] == 1.0
    assert metrics["occlusion"]["moderate"]["AP"] == -1.0  # none is
    assert metrics["occlusion"]["heavy"]["AP"] == 0.0
    assert 0 < metrics["AP"] < 1


def test_no_levels_without_labels():
    metrics = evaluate_results(parse_ground_truth(scenes.annotations()), ResultsInMemory([])).metrics()
    assert "occlusion" not in metrics


@pytest.fixture
def mixed_lengths():
    long = {20: [(1, scenes.moving(2, 2, length=30)), (2, scenes.moving(20, 20, step=0, length=30))]}
    return {**scenes.SCENES, **long}


def test_long_videos_are_scored_apart(mixed_lengths):
    ground_truth = parse_ground_truth(scenes.annotations(mixed_lengths))
    records = [record for record in scenes.perfect(mixed_lengths) if record["video_id"] != 20]
    evaluation = evaluate_results(
        ground_truth, ResultsInMemory(records), long_videos=long_videos(ground_truth, LengthRules(long="10"))
    )
    metrics = evaluation.metrics()
    assert metrics["short_videos"]["AP"] == 1.0
    assert metrics["long_videos"]["AP"] == 0.0
    assert 0 < metrics["AP"] < 1


def test_ways_to_name_the_long_videos(mixed_lengths, tmp_path):
    ground_truth = parse_ground_truth(scenes.annotations(mixed_lengths))
    lines = tmp_path / "long.txt"
    lines.write_text("video20\n\n7\n")
    assert long_videos(ground_truth, LengthRules(long=str(lines))) == {20, 7}
    ids = tmp_path / "ids.json"
    ids.write_text("[20]")
    assert long_videos(ground_truth, LengthRules(long=str(ids))) == {20}
    other = tmp_path / "long_annotations.json"
    other.write_text(json.dumps({"videos": [{"id": 1, "file_names": ["video20/00000.jpg"]}]}))
    assert long_videos(ground_truth, LengthRules(long=str(other))) == {20}
    lines.write_text("video99")
    with pytest.raises(UserError, match="none of the 1 videos"):
        long_videos(ground_truth, LengthRules(long=str(lines)))
    with pytest.raises(UserError, match="expected a number of frames, or a file"):
        long_videos(ground_truth, LengthRules(long="ten"))
