"""YouTube-VIS 2019: cut a validation set, train and validate, score at home, then the official set to the server."""

from __future__ import annotations

import json

import pytest

from mindvideo import load_config
from mindvideo.assembly.training_sets import hold_out
from mindvideo.errors import UserError
from mindvideo.run_folder import weights_of_epoch
from tests.errands import official_sets
from tests.evaluation.codabench import PASSWORD, PHASE, USER, Codabench


def test_a_run_is_validated_on_videos_that_it_does_not_learn(errand):
    official_sets.youtube_vis_2019(errand.data)
    given = ("-c", "vistr", "--output", "run", "train.evaluate=true", *errand.settings)
    with pytest.raises(UserError, match=r"split_train.*mindvideo prepare split .*train.json"):
        errand.run("train", *given)
    shown = errand.run("prepare", "split", errand.data / "youtube_vis_2019" / "train.json", "--share", "0.4")
    assert "4 + 2 videos" in shown
    with pytest.raises(UserError, match=r"data.valid \(ytvis19/train\) and data.train \(ytvis19/train\) share 6 of 6"):
        errand.run("train", *given, "data.valid=ytvis19/train")
    with pytest.raises(UserError, match="its videos have no annotations"):
        errand.run("train", *given, "data.valid=ytvis19/valid")
    assert not (errand.folder / "run").exists()
    cfg = load_config("vistr", [f"data.root={errand.data}", "train.evaluate=true"])
    hold_out(cfg)
    assert cfg.data.train == ["ytvis19/split_train"]  # what the published recipe becomes
    whole = load_config("vistr")
    hold_out(whole)
    assert whole.data.train == ["ytvis19/train"]


def test_weights_of_every_epoch_at_home(errand):
    """The run is one that train.keep_weights_every has left its files in."""
    official_sets.youtube_vis_2019(errand.data)
    errand.run("prepare", "split", errand.data / "youtube_vis_2019" / "train.json", "--share", "0.4")
    with pytest.raises(UserError, match="no weights/epoch_.*ckpt in this folder"):
        errand.eval("epochs", weights=errand.data)
    for epoch in (1, 2):
        place = weights_of_epoch(errand.folder / "run", epoch)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.hardlink_to(errand.weights)
    with pytest.raises(UserError, match="--submit sends the results of one file of weights"):
        errand.eval("epochs", "--submit", weights=errand.folder / "run")
    shown = errand.eval("epochs", "--no-report", weights=errand.folder / "run")
    figures = json.loads((errand.folder / "epochs" / "weights.json").read_text())
    assert list(figures) == ["epoch_001", "epoch_002"] and figures["epoch_001"]["videos"] == 2
    assert figures["epoch_001"]["AP"] == figures["epoch_002"]["AP"]
    rows = [line.split() for line in shown.splitlines() if line.startswith("epoch_")]
    assert [row[0] for row in rows] == ["epoch_001", "epoch_002"] and rows[0][-1] == "best"
    for name in figures:
        assert (errand.folder / "epochs" / name / "results.json").is_file()


def test_the_official_set_to_the_server(errand, monkeypatch):
    folder = official_sets.youtube_vis_2019(errand.data)
    shown = errand.eval("official", "data.valid=ytvis19/valid")
    results = errand.folder / "official" / "results.json"
    assert f"ytvis19/valid: its labels are withheld, so there is nothing to score; 3 videos in {results}" in shown
    printed = next(line for line in shown.splitlines() if line.startswith("next: mindvideo submit"))
    assert not (errand.folder / "official" / "metrics.json").exists()
    records = json.loads(results.read_text())
    assert {record["video_id"] for record in records} <= {1, 2, 3} and records
    assert {len(record["segmentations"]) for record in records if record["video_id"] == 2} == {4}
    said = errand.run("submit", *printed.split()[3:])
    assert "YouTube-VIS 2019: https://" in said and (errand.folder / "official" / "submission.zip").is_file()
    before = results.read_bytes()
    with Codabench() as bench:  # a server of one's own
        for name, value in {"URL": bench.url, "PHASE": PHASE, "USER": USER, "PASSWORD": PASSWORD}.items():
            monkeypatch.setenv(f"MINDVIDEO_SUBMIT_{name}", str(value))
        sent = errand.eval("official", "data.valid=ytvis19/valid", "--submit")
    assert "handed in: submission 77" in sent and bench.results() == records
    assert results.read_bytes() == before  # finished videos are not run again
    assert "are in order" in sent and folder.name in printed
