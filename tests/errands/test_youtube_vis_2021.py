"""YouTube-VIS 2021: a file without the key ``annotations``, odd ids, nested folders; and what goes wrong with sets."""

from __future__ import annotations

import json
import shutil

import pytest

from mindvideo.errors import UserError
from tests.errands import official_sets

IDS = {3, 5, 211}


@pytest.mark.parametrize("tree", ["valid", "val"])
def test_results_have_the_ids_of_the_file(errand, tree):
    official_sets.youtube_vis_2021(errand.data, valid=tree)
    shown = errand.eval("out", f"data.valid=ytvis21/{tree}", "--submit")
    records = json.loads((errand.folder / "out" / "results.json").read_text())
    assert {record["video_id"] for record in records} <= IDS and records
    assert "nothing to score; 3 videos" in shown and "YouTube-VIS 2021: https://" in shown
    assert "next: mindvideo submit --results" in shown and shown.rstrip().endswith("--upload")
    assert (errand.folder / "out" / "submission.zip").is_file()


def test_missing_and_misplaced_frames_are_told_before_the_work(errand):
    folder = official_sets.youtube_vis_2021(errand.data)
    frames = folder / "valid" / "JPEGImages"
    (frames / "b" / "00f88c4f0a" / "00005.jpg").unlink()
    with pytest.raises(UserError, match="1 of 10 frames, of 1 of 3 videos, are not in .* first b/00f88c4f0a/00005.j"):
        errand.eval("out", "data.valid=ytvis21/valid")
    shutil.move(frames, folder / "valid_all_frames" / "JPEGImages")
    frames.mkdir(parents=True)
    with pytest.raises(UserError, match=r"it is in .*valid_all_frames/JPEGImages: give data.valid=.*instances.json@"):
        errand.eval("out", "data.valid=ytvis21/valid")
    assert not (errand.folder / "out").exists()


def test_results_of_another_year_are_known_by_sight(errand):
    folder = official_sets.youtube_vis_2021(errand.data)
    other = official_sets.youtube_vis_2019(errand.data)
    track = {"category_id": 1, "score": 0.5}
    masks = [None, None, None]
    results = errand.folder / "results.json"
    results.write_text(json.dumps([{**track, "video_id": number, "segmentations": masks} for number in IDS]))
    given = ("--results", results, "--annotations")
    with pytest.raises(UserError, match=r"of one set; they look like those of no other") as wrong:
        errand.run("submit", *given, other / "valid.json")
    assert "\n" not in str(wrong.value)
    lengths = {1: 3, 2: 4, 3: 3}
    theirs = [{**track, "video_id": n, "segmentations": [None] * t} for n, t in lengths.items()]
    results.write_text(json.dumps(theirs))
    with pytest.raises(UserError, match=r"they look like results of ytvis19/valid \(.*valid.json\)"):
        errand.run("submit", *given, folder / "valid" / "instances.json")
    with pytest.raises(UserError, match=r"they look like results of ytvis19/valid \("):
        errand.run("eval", *given, folder / "train" / "instances.json", "--output", "out")
    results.write_text(json.dumps([{**record, "video_id": str(record["video_id"])} for record in theirs]))
    with pytest.raises(UserError, match="its ids are of another type: 1 there, '1' in the results"):
        errand.run("submit", *given, other / "valid.json")
