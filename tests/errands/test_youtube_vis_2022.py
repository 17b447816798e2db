"""YouTube-VIS 2022: one command for short and long videos, with labels; without them the file for the server."""

from __future__ import annotations

import json

import pytest

from tests.errands import official_sets


def test_without_labels_there_is_the_file_for_the_server(errand):
    folder = official_sets.youtube_vis_2022(errand.data)
    shown = errand.eval("out", "data.valid=ytvis22/valid", "--long-videos", folder / "gt_long.json", "--submit")
    assert "nothing to score; 3 videos (1 long, 2 short)" in shown
    records = json.loads((errand.folder / "out" / "results.json").read_text())
    assert {record["video_id"] for record in records} <= {2, 4, 6} and records
    assert (errand.folder / "out" / "submission.zip").is_file()


def test_with_labels_both_are_scored(errand):
    folder = official_sets.youtube_vis_2022(errand.data, labels="made")
    official_sets.youtube_vis_2021(errand.data)
    short = errand.folder / "short.txt"
    short.write_text("0062f687f1\n00f88c4f0a\n")
    figures = []
    for rule in (("--long-videos", folder / "gt_long.json"), ("--short-videos", short), ("--long-videos", "9")):
        shown = errand.eval("out", "data.valid=ytvis22/valid", "--no-report", *rule)
        assert "long videos" in shown
        figures.append(json.loads((errand.folder / "out" / "metrics.json").read_text()))
    assert figures[0]["long_videos"] == figures[1]["long_videos"] == figures[2]["long_videos"]
    assert figures[0]["short_videos"] == pytest.approx(figures[1]["short_videos"])
    assert figures[1]["speed"]["videos_run"] == 0
