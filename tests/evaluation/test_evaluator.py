"""An evaluation: the things it must not depend on, those it must see, and those it refuses."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mindvideo.errors import UserError
from mindvideo.evaluation.evaluator import evaluate_results
from mindvideo.evaluation.ground_truth import parse_ground_truth
from mindvideo.evaluation.results_json import ResultsInMemory
from tests.evaluation import scenes


def figures(records: list[dict], content: dict | None = None) -> dict:
    ground_truth = parse_ground_truth(content or scenes.annotations())
    return evaluate_results(ground_truth, ResultsInMemory(records)).metrics()


def test_a_perfect_prediction_scores_one():
    metrics = figures(scenes.perfect())
    assert [metrics[name] for name in ("AP", "AP50", "AP75", "APs", "AR10", "AR100", "ARs")] == [1.0] * 7
    assert metrics["APm"] == metrics["APl"] == -1.0  # no object is that large
    assert metrics["frame"]["AP"] == 1.0
    assert all(entry["count"] == 0 for entry in metrics["errors"]["kinds"].values())
    assert metrics["AR1"] == pytest.approx(np.mean([2 / 3, 1, 1]))  # one video holds two of the three discs


def test_no_prediction_scores_zero():
    metrics = figures([])
    assert metrics["AP"] == metrics["AR100"] == metrics["frame"]["AP"] == 0.0
    assert metrics["errors"]["kinds"]["missed"] == {"count": 7, "AP50_cost": 0.0}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), order=st.integers(0, 10_000))
def test_order_of_records_and_videos_changes_nothing(seed, order):
    records, content = scenes.noisy(seed), scenes.annotations()
    shuffled_records, shuffled = list(records), copy.deepcopy(content)
    rng = np.random.default_rng(order)
    rng.shuffle(shuffled_records)
    rng.shuffle(shuffled["videos"])
    rng.shuffle(shuffled["annotations"])
    assert figures(shuffled_records, shuffled) == scenes.approximately(figures(records, content))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_equal_scores_keep_the_order_of_the_file(seed):
    """Rounded scores give the figures of tiny steps down the file: earlier videos, then earlier records, come first."""
    tied = sorted(scenes.noisy(seed), key=lambda record: record["video_id"])
    for record in tied:
        record["score"] = round(record["score"], 1)
    stepped = [{**record, "score": record["score"] - 1e-6 * place} for place, record in enumerate(tied)]
    one, other = figures(tied), figures(stepped)
    assert {name: one[name] for name in ("AP", "AP50", "AR1", "AR10")} == pytest.approx(
        {name: other[name] for name in ("AP", "AP50", "AR1", "AR10")}
    )


def test_a_shuffled_identity_lowers_tube_ap_but_not_frame_ap():
    records = scenes.perfect()
    first, second = (index for index, r in enumerate(records) if r["video_id"] == 7 and r["category_id"] == 1)
    a, b = records[first]["segmentations"], records[second]["segmentations"]
    half = scenes.LENGTH // 2
    records[first]["segmentations"], records[second]["segmentations"] = a[:half] + b[half:], b[:half] + a[half:]
    metrics = figures(records)
    assert metrics["AP"] < 0.8
    assert metrics["frame"]["AP"] == 1.0
    assert metrics["errors"]["kinds"]["swapped identity"]["count"] == 2


def test_tube_iou_is_over_all_frames():
    """Half of the frames, perfectly: tube IoU 0.5, so right only at 0.5."""
    scene = {1: [(1, scenes.moving(2, 2, step=0))]}
    half = scene[1][0][1][: scenes.LENGTH // 2] + [None] * (scenes.LENGTH // 2)
    metrics = figures([scenes.record(1, 1, half)], scenes.annotations(scene))
    assert metrics["AP50"] == pytest.approx(1.0)
    assert metrics["AP"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda r: r["segmentations"].pop(), ["video 7", "track 1", "frame 7", "missing"]),
        (lambda r: r["segmentations"].append(None), ["video 7", "track 1", "frame 8", "one too many"]),
        (
            lambda r: r["segmentations"].__setitem__(3, scenes.encoded((0, 0, 5, 5), (60, 40))),
            ["video 7", "track 1", "frame 3", "[60, 40]", "[40, 60]"],
        ),
        (
            lambda r: r["segmentations"][2].update(counts=r["segmentations"][2]["counts"][:-2]),
            ["video 7", "track 1", "frame 2", "damaged"],
        ),
        (lambda r: r["segmentations"][5].update(counts=7), ["video 7", "track 1", "frame 5"]),
        (lambda r: r.update(score=float("nan")), ["video 7", "track 1", "nan"]),
        (lambda r: r.update(video_id=70), ["video 70", "annotations do not list"]),
    ],
    ids=["short", "long", "wrong size", "damaged", "no RLE", "not a number", "unknown video"],
)
def test_what_is_refused_is_named(change, parts):
    records = scenes.perfect()
    change([record for record in records if record["video_id"] == 7][1])
    with pytest.raises(UserError) as caught:
        figures(records)
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_form_of_mask_in_the_annotations():
    """Polygons, uncompressed and compressed runs of the same rectangles give the same figures."""
    content = scenes.annotations()
    for entry in content["annotations"]:
        for frame, mask in enumerate(entry["segmentations"]):
            if mask is None:
                continue
            x, y, width, height = entry["bboxes"][frame]
            form = frame % 3
            if form == 0 and x >= 0 and x + width <= scenes.WIDTH:
                corners = [x, y, x + width, y, x + width, y + height, x, y + height]
                entry["segmentations"][frame] = [[float(value) for value in corners]]
            elif form == 1:
                flat = coco_mask.decode(mask).ravel(order="F")
                edges = np.flatnonzero(np.diff(flat)) + 1
                runs = np.diff([0, *edges, len(flat)]).tolist()
                runs = [0, *runs] if flat[0] else runs
                entry["segmentations"][frame] = {"size": mask["size"], "counts": runs}
    assert figures(scenes.noisy(3), content) == scenes.approximately(figures(scenes.noisy(3)))


def test_a_category_that_is_not_listed_is_left_out(caplog):
    records = [*scenes.perfect(), scenes.record(3, 99, scenes.moving(2, 2), 0.99)]
    with caplog.at_level("WARNING", logger="mindvideo.evaluation"):
        assert figures(records)["AP"] == 1.0
    assert "1 records have a category" in caplog.text


def test_annotations_without_labels_are_refused():
    with pytest.raises(UserError, match="no annotations"):
        parse_ground_truth({**scenes.annotations(), "annotations": None})


def test_an_annotation_that_does_not_cover_its_video_is_refused():
    content = scenes.annotations()
    content["annotations"][2]["segmentations"].pop()
    with pytest.raises(UserError, match="video 7, annotation 3: 7 masks for a video of 8 frames"):
        parse_ground_truth(content)


def test_crowds_are_nobodys_object():
    content = scenes.annotations()
    content["annotations"][0]["iscrowd"] = 1
    twice = [record for record in scenes.perfect() if record["video_id"] == 3 and record["category_id"] == 1]
    metrics = figures([*scenes.perfect(), {**twice[0], "score": 0.95}], content)
    assert metrics["AP"] == 1.0  # two detections on the crowd are ignored


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("videos", {"id": None}, r"videos\[0\]: id is None"),
        ("videos", {"height": "48"}, "video 3: height is '48'"),
        ("videos", {"length": None, "file_names": None}, "video 3: no length and no file_names"),
        ("categories", {"name": 3}, "category 1: name is 3"),
        ("annotations", {"video_id": []}, r"annotation 1: video_id is \[\]"),
    ],
)
def test_an_entry_of_the_wrong_form_is_refused(part: str, change: dict, message: str) -> None:
    content = copy.deepcopy(scenes.annotations())
    content[part][0].update(change)
    with pytest.raises(UserError, match=message):
        parse_ground_truth(content)
    content[part][0] = "nonsense"
    with pytest.raises(UserError, match=f"{part}.0.: 'nonsense'"):
        parse_ground_truth(content)
