"""The report page without a browser: what is in it, what is left out, and how large it may be."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mindvideo.report import page
from mindvideo.report.charts import bar_rows, line_chart, smooth
from mindvideo.report.run_report import ReportOptions, write_report
from mindvideo.report.training_curves import read_records, training_charts
from mindvideo.report.video_gallery import build_gallery
from tests.report import made_up_run

REPORT = Path(__file__).resolve().parents[2] / "tools" / "segmentation" / "report.py"


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return made_up_run.write_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def evaluated(labelled):
    return made_up_run.evaluate_set(labelled[0])


def gallery_of(labelled, evaluated, *, max_videos=100, megabytes=100.0, confidence=0.3):
    evaluation, results = evaluated
    limits = {"max_videos": max_videos, "megabytes": megabytes, "confidence": confidence}
    return build_gallery(evaluation, results, frames=labelled[1], **limits)


def page_data(path: Path) -> list[dict]:
    found = re.search(r'<script type="application/json" id="video-data">(.*?)</script>', path.read_text(), re.DOTALL)
    return json.loads(found[1])


def test_the_worst_videos_come_first_with_their_errors(labelled, evaluated):
    gallery = gallery_of(labelled, evaluated)
    qualities = [video["quality"] for video in gallery.videos]
    assert qualities == sorted(qualities)
    assert qualities[0] < 0.7 and qualities[-1] == pytest.approx(1.0)
    kinds = {video["name"]: video["kinds"] for video in gallery.videos}
    for number, fault in enumerate(made_up_run.FAULTS):
        assert fault == "none" or fault in kinds[f"{number:05d}"]
    assert kinds["00000"] == []


def test_right_tracks_have_the_colour_of_their_object(labelled, evaluated):
    video = next(video for video in gallery_of(labelled, evaluated).videos if video["name"] == "00006")
    colors = {entry["color"] for entry in video["objects"]}
    assert {track["color"] for track in video["tracks"] if track["right"]} == colors
    assert not colors & {track["color"] for track in video["tracks"] if not track["right"]}


def test_pictures_stay_in_their_limits(labelled, evaluated):
    everything = gallery_of(labelled, evaluated)
    assert everything.reason == ""
    few = gallery_of(labelled, evaluated, max_videos=3)
    assert [video["name"] for video in few.videos] == [video["name"] for video in everything.videos[:3]]
    assert few.reason == "at most 3 videos are shown"
    half = gallery_of(labelled, evaluated, megabytes=everything.megabytes / 2)
    assert 0 < len(half.videos) < len(everything.videos)
    assert half.megabytes <= everything.megabytes / 2
    assert "reached" in half.reason


def test_tracks_below_the_confidence_are_not_shown(labelled, evaluated):
    shown = gallery_of(labelled, evaluated, confidence=0.55).videos
    assert all(track["score"] >= 0.55 for video in shown for track in video["tracks"])
    assert next(video for video in shown if video["name"] == "00006")["kinds"] == []  # the duplicate scores 0.5


def test_one_file_without_network(labelled, evaluated, tmp_path):
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in made_up_run.training_records()))
    options = ReportOptions(title="a <title> & more", videos=2)
    path = write_report(tmp_path, *evaluated, frames=labelled[1], options=options)
    text = path.read_text(encoding="utf-8")
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.jsonl", "report.html"] or path.exists()
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", text)
    assert all(address.startswith("data:") for address in addresses if not address.startswith("video"))
    assert "https://" not in text and "http://" not in text
    assert "a &lt;title&gt; &amp; more" in text and "<title> &" not in text
    assert len(page_data(path)) == 2
    for text_wanted in ("What goes wrong", "AP of each class", "Terms of the loss", "2 of 8 videos"):
        assert text_wanted in text


def test_words_fit_the_figures(labelled, evaluated, tmp_path):
    evaluation, results = evaluated
    metrics = evaluation.metrics()
    zero = {**metrics, "AP": 0.0, "frame": {**metrics["frame"], "AP": 0.0}}
    (sentence, *_) = page._reading(zero)
    assert "matches an object" in sentence and "about as much" not in sentence
    assert "as whole tracks" in page._reading({**zero, "AP": 0.2, "frame": {**metrics["frame"], "AP": 0.2}})[0]
    unscored = {**metrics, "AP": -1.0, "frame": {**metrics["frame"], "AP": -1.0}}
    assert not any("No track" in sentence for sentence in page._reading(unscored))
    assert page._subtitle({**metrics, "videos": 1}).startswith("1 video,")
    options = ReportOptions(title="vistr_toy-eval.json", videos=1)
    text = write_report(tmp_path, evaluation, results, frames=None, options=options).read_text()
    assert "<h1>vistr_<wbr>toy-<wbr>eval.<wbr>json</h1>" in text and "<title>vistr_toy-eval.json" in text
    assert "at most 1 video is shown" in text


def test_without_frames_masks_are_shown_on_grey(labelled, evaluated, tmp_path):
    path = write_report(tmp_path, *evaluated, frames=None, options=ReportOptions(title="x", videos=1))
    assert len(page_data(path)[0]["prediction"]) == 8


def test_names_cannot_break_out_of_the_page(labelled, evaluated, tmp_path):
    evaluation, results = evaluated
    names = evaluation.ground_truth.categories
    kept = dict(names)
    names[1] = "</script><b>"
    try:
        path = write_report(tmp_path, evaluation, results, frames=None, options=ReportOptions(title="x"))
    finally:
        names.update(kept)
    assert "</script><b>" not in path.read_text()
    assert any("</script><b>" in video["classes"] for video in page_data(path))


def test_training_alone(tmp_path):
    lines = [json.dumps(record) for record in made_up_run.training_records(30)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"kind": "tra')  # cut short by an interruption
    done = subprocess.run([sys.executable, str(REPORT), str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report.html").read_text()
    assert "Learning rate" in text and "What goes wrong" not in text
    assert len(read_records(tmp_path)) == len(lines)


def test_a_folder_of_nothing_is_refused(tmp_path):
    done = subprocess.run([sys.executable, str(REPORT), str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "neither evaluated.json of mindvideo eval nor metrics.jsonl of mindvideo train" in done.stderr


def test_charts_of_a_training():
    charts = dict(training_charts(made_up_run.training_records()))
    assert list(charts) == ["Loss", "Terms of the loss", "Evaluated while training", "Learning rate"]
    assert charts["Terms of the loss"].count("<polyline") == 3
    assert charts["Evaluated while training"].count("<polyline") == 2  # AP75 was never a number
    assert training_charts([]) == []


def test_only_terms_of_the_last_layer_are_drawn_beside_the_loss():
    terms = {"loss_ce": 1.0, "loss_ce_0": 9.0, "loss_mask": 2.0, "class_error": 80.0, "loss_scale": 1024.0}
    records = [{"kind": "train", "step": step, "loss": 3.0, **terms} for step in (1, 2, 3)]
    drawn = re.findall(r"<title>([^<]+)</title>", dict(training_charts(records))["Terms of the loss"])
    assert sorted(drawn) == ["loss_ce", "loss_mask"]


def test_line_chart_places_its_points():
    svg = line_chart([("a", [0, 10], [0.0, 1.0])], x_label="x", y_label="y", top=1.0)
    (points,) = re.findall(r'points="([^"]+)"', svg)
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in points.split())
    assert x0 < x1 and y0 > y1  # to the right and up
    assert "<circle" in line_chart([("a", [3], [2.0])], x_label="x", y_label="y")
    line_chart([("flat", [0, 0], [0.0, 0.0])], x_label="x", y_label="y")


def test_bars_and_smoothing():
    assert re.findall(r"width:([\d.]+)%", bar_rows([("a", 0.5, "50"), ("b", 0.25, "25")])) == ["100.0", "50.0"]
    assert smooth([3.0] * 50) == pytest.approx([3.0] * 50)
    jagged = [0.0, 1.0] * 100
    assert max(smooth(jagged)[5:-5]) < 0.7
