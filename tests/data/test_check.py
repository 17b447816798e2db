"""A damaged data set gets its full list of problems; a sound one an empty list."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mindvideo.data.check import check_video_set
from mindvideo.data.check_images import check_image_set
from mindvideo.errors import UserError

PREPARE = Path(__file__).resolve().parents[2] / "tools/segmentation/prepare.py"


def damage(content: dict[str, Any]) -> None:
    """One of everything."""
    videos, tracks = content["videos"], content["annotations"]
    videos[0]["file_names"][1] = "00000/99999.jpg"  # not on disk
    videos[1]["height"] = 80  # the frames are 64 high, and so are the masks
    videos[2]["length"] = 9
    del videos[3]["width"]
    tracks_of = {number: [t for t in tracks if t["video_id"] == number] for number in range(1, 13)}
    tracks_of[5][0]["category_id"] = 77
    tracks_of[6][0]["segmentations"] = tracks_of[6][0]["segmentations"][:4]
    tracks_of[6][0]["bboxes"] = tracks_of[6][0]["bboxes"][:4]
    seen = next(t for t, box in enumerate(tracks_of[7][0]["bboxes"]) if box)
    tracks_of[7][0]["segmentations"][seen] = None
    seen = next(t for t, box in enumerate(tracks_of[8][0]["bboxes"]) if box)
    tracks_of[8][0]["segmentations"][seen] = {"size": [64, 96], "counts": [5, 5]}
    tracks_of[9][0]["bboxes"] = [None] * 6
    tracks_of[9][0]["segmentations"] = [None] * 6
    seen = next(t for t, box in enumerate(tracks_of[10][0]["bboxes"]) if box)
    tracks_of[10][0]["bboxes"][seen] = [3.0, 3.0, 0.0, 5.0]
    tracks_of[11][0]["video_id"] = 500
    tracks_of[12][0]["id"] = tracks_of[12][0]["id"] if len(tracks_of[12]) > 1 else 1
    tracks.append(copy.deepcopy(tracks_of[12][0]))


EXPECTED = {
    ("missing frame", "video 1"),
    ("frame size", "video 2"),
    ("video length", "video 3"),
    ("missing key", "video 4"),
    ("unknown category", "annotation"),
    ("track length", "annotation"),
    ("half present", "annotation"),
    ("mask", "annotation"),
    ("empty track", "annotation"),
    ("box", "annotation"),
    ("unknown video", "annotation"),
    ("duplicate id", "annotations"),
    ("broken frame", "video 12"),
    ("mask size", "annotation"),
}


@pytest.fixture
def damaged(shapes_set: Path, tmp_path: Path) -> tuple[Path, Path]:
    root = tmp_path / "set"
    shutil.copytree(shapes_set, root)
    file = root / "annotations/instances_train.json"
    content = json.loads(file.read_text())
    damage(content)
    file.write_text(json.dumps(content))
    frames = root / "train/JPEGImages"
    (frames / "00011/00000.jpg").write_bytes(b"no picture")
    return file, frames


def test_every_problem_is_listed(damaged: tuple[Path, Path]) -> None:
    problems = [problem for problem in check_video_set(*damaged) if problem.is_error]
    found = {(problem.kind, problem.where) for problem in problems}
    for kind, where in EXPECTED:
        assert any(k == kind and (w == where or w.startswith(where + " ")) for k, w in found), (kind, where, found)
    lines = [str(problem) for problem in problems]
    assert any("no file" in line and "00000/99999.jpg" in line for line in lines)
    assert any("is 64 x 96 (height x width), annotated as 80 x 96" in line for line in lines)
    assert any("category 77 is not in 'categories'" in line for line in lines)
    assert any("4 bboxes for a video of 6 frames" in line for line in lines)
    assert any("runs cover 10 pixels" in line for line in lines)


def test_the_tool_prints_them_and_says_so_in_its_exit_code(damaged: tuple[Path, Path]) -> None:
    file, frames = damaged
    done = subprocess.run([sys.executable, PREPARE, "check", f"{file}@{frames}"], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    lines = done.stdout.splitlines()
    assert f"{len([line for line in lines if line.startswith('error:')])} errors (" in lines[-1]
    assert "Traceback" not in done.stderr


def test_a_cut_frame_is_found_by_decoding(shapes_set: Path, tmp_path: Path) -> None:
    shutil.copytree(shapes_set, tmp_path / "set")
    frames = tmp_path / "set/valid/JPEGImages"
    cut = frames / "00001/00003.jpg"
    cut.write_bytes(cut.read_bytes()[:900])
    file = tmp_path / "set/annotations/instances_valid.json"
    assert [p for p in check_video_set(file, frames) if p.is_error] == []
    (problem,) = [p for p in check_video_set(file, frames, decode=True) if p.is_error]
    assert problem.kind == "broken frame" and "00001/00003.jpg" in problem.message


def test_a_set_without_labels_is_fit_for_testing(shapes_set: Path, tmp_path: Path) -> None:
    content = json.loads((shapes_set / "annotations/instances_valid.json").read_text())
    content["annotations"] = None
    file = tmp_path / "annotations_test.json"
    file.write_text(json.dumps(content))
    (note,) = check_video_set(file, None)
    assert not note.is_error and note.kind == "unlabelled"


def test_not_an_annotation_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no annotation file"):
        check_video_set(tmp_path / "none.json", None)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        check_video_set(tmp_path / "bad.json", None)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(UserError, match="no 'videos' list"):
        check_video_set(tmp_path / "list.json", None)


def test_images(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg")
    images = [
        {"id": 1, "file_name": "a.jpg", "height": 20, "width": 30},
        {"id": 2, "file_name": "b.jpg", "height": 20, "width": 30},
    ]
    square = [[2, 2, 8, 2, 8, 8]]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": square},
        {"id": 2, "image_id": 1, "category_id": 5, "segmentation": square},
        {"id": 3, "image_id": 9, "category_id": 1, "segmentation": square},
        {"id": 4, "image_id": 1, "category_id": 1, "segmentation": [[1, 2]]},
    ]
    file = tmp_path / "coco.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}))
    assert [(problem.kind, problem.where) for problem in check_image_set(file, tmp_path)] == [
        ("missing frame", "image 2"),
        ("unknown category", "annotation 2"),
        ("unknown image", "annotation 3"),
        ("mask", "annotation 4"),
    ]
