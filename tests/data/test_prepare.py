"""The commands of prepare.py that make new annotation files or pages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mindvideo.data.labels.keep_list import keep_categories
from mindvideo.data.labels.split import category_counts, split_annotations, video_name
from mindvideo.errors import UserError
from tests.data.test_clips import coco_set

PREPARE = Path(__file__).resolve().parents[2] / "tools/segmentation/prepare.py"


def prepare(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, PREPARE, *map(str, arguments)], capture_output=True, text=True)


def test_split_is_reproducible_stratified_and_whole(shapes_set: Path, tmp_path: Path) -> None:
    file = shapes_set / "annotations/instances_train.json"
    split = split_annotations(file, share=0.25)
    names = [{video_name(video) for video in part["videos"]} for part in (split.train, split.valid)]
    assert not names[0] & names[1] and len(names[0] | names[1]) == 12
    assert all(category_counts(split.train).values()) and all(category_counts(split.valid).values())
    assert 2 <= len(names[1]) <= 5

    content = json.loads(file.read_text())
    content["videos"].reverse()
    content["annotations"].reverse()
    turned = tmp_path / "turned.json"
    turned.write_text(json.dumps(content))
    assert split_annotations(turned, share=0.25).fingerprint == split.fingerprint
    assert split_annotations(file, share=0.25, seed=1).fingerprint != split.fingerprint
    with pytest.raises(UserError, match="a share of 1.5 cannot be split off"):
        split_annotations(file, share=1.5)


def test_split_command(shapes_set: Path, tmp_path: Path) -> None:
    done = prepare("split", shapes_set / "annotations/instances_train.json", "--share", 0.25, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    sizes = [len(json.loads((tmp_path / f"split_{part}.json").read_text())["videos"]) for part in ("train", "valid")]
    assert sum(sizes) == 12 and f"{sizes[0]} + {sizes[1]} videos" in done.stdout


def test_keep_list(tmp_path: Path) -> None:
    file = coco_set(tmp_path)
    content = keep_categories(file, {74})
    assert {entry["category_id"] for entry in content["annotations"]} == {74}
    assert len(content["images"]) == 3 and content["categories"] == [{"id": 1, "name": "person"}]
    with pytest.raises(UserError, match=r"no annotation has one of the kept categories \[3\]"):
        keep_categories(file, {3})


def test_coco_keep_command_drops_the_computer_mouse_unless_asked(tmp_path: Path) -> None:
    file = coco_set(tmp_path)
    kept = {}
    for version in ("published", "corrected"):
        output = tmp_path / f"{version}.json"
        done = prepare("coco-keep", file, "--for", "ytvis19", "--map", version, "--output", output)
        assert done.returncode == 0, done.stderr
        kept[version] = {entry["category_id"] for entry in json.loads(output.read_text())["annotations"]}
    assert kept == {"published": {1, 74}, "corrected": {1}}


def test_synthetic_command_refuses_to_overwrite(tmp_path: Path) -> None:
    arguments = ("synthetic", "--output", tmp_path / "set", "--train", 2, "--valid", 1, "--mp4", 1)
    assert prepare(*arguments).returncode == 0
    assert (tmp_path / "set/videos/late_00000.mp4").stat().st_size > 0
    again = prepare(*arguments)
    assert again.returncode == 2 and "holds a set already" in again.stderr and "Traceback" not in again.stderr
    assert prepare(*arguments, "--overwrite").returncode == 0


def test_browse_shows_each_clip_before_and_after(shapes_set: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    root = f"data.root={shapes_set.parent}"
    done = prepare("browse", "-c", "vistr_toy", root, "--clips", 2, "--output", page)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.count("<p>as on disk: 64 x 96") == 2 and text.count("<p>as training sees it: 64 x 96") == 2
    pictures = re.findall(r"base64,([^']+)'", text)
    assert len(pictures) == 4 and len(set(pictures)) == 4
