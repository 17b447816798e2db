"""OVIS: frames from img_0000001.jpg on, both withheld parts; then labels of the validation set, where one has them."""

from __future__ import annotations

import json

from tests.errands import official_sets


def test_valid_and_test_to_the_server_and_labels_at_home(errand):
    folder = official_sets.ovis(errand.data)
    for part, ids in (("valid", {12, 31}), ("test", {40})):
        shown = errand.eval(part, f"data.valid=ovis/{part}")
        assert f"ovis/{part}: its labels are withheld" in shown and "--for ovis" in shown
        records = json.loads((errand.folder / part / "results.json").read_text())
        assert {record["video_id"] for record in records} <= ids and records
    labelled = json.loads((folder / "annotations_valid.json").read_text())
    labelled["annotations"] = [
        {
            "id": 1, "video_id": 12, "category_id": 1, "iscrowd": 0, "bboxes": [[4, 5, 20, 16]] * 4,
            "areas": [320] * 4, "segmentations": [{"size": [48, 64], "counts": [245, 16, 2811]}] * 4,
            "occlusion": ["no_occlusion", "slight_occlusion", "slight_occlusion", "no_occlusion"],
        }
    ]  # fmt: skip
    truth = errand.folder / "valid_gt.json"
    truth.write_text(json.dumps(labelled))
    results = errand.folder / "valid" / "results.json"
    shown = errand.run("eval", "--results", results, "--annotations", truth, "--output", "scored", "--no-report")
    assert "slight occlusion" in shown
    assert json.loads((errand.folder / "scored" / "metrics.json").read_text())["videos"] == 2
