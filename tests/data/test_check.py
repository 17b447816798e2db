"""A damaged data set gets its full list of problems; a sound one an empty list."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mindvideo.data.labels.check import Problem, check_video_set
from mindvideo.data.labels.check_images import check_image_set
from mindvideo.data.labels.videos import read_video_annotations
from mindvideo.errors import UserError
from mindvideo.masks.rle import encode_mask

PREPARE = Path(__file__).resolve().parents[2] / "tools/segmentation/prepare.py"

HEIGHT, WIDTH = 20, 30
Damage = Callable[[dict[str, Any]], Any]


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


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for name in ("a.jpg", "a.png"):
        Image.fromarray(noise).save(tmp_path / name)
    return ImageSet(tmp_path)


class ImageSet:
    """A sound COCO set of one image, to be damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        square = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[2, 2, 8, 2, 8, 8]], "bbox": [2, 2, 6, 6]}
        self.content: dict[str, Any] = {
            "images": [{"id": 1, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}],
            "annotations": [square],
            "categories": [{"id": 1, "name": "x"}],
        }

    def problems(self, **how: Any) -> list[Problem]:
        file = self.folder / "coco.json"
        file.write_text(json.dumps(self.content))
        return check_image_set(file, self.folder, **how)


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("filled", [False, True])
def test_a_cut_frame_is_found(
    images: ImageSet, capfd: pytest.CaptureFixture, name: str, decode: bool, filled: bool
) -> None:
    """Half a picture, by itself or with the zeros of a file that had its full length from the start."""
    images.content["images"][0]["file_name"] = name
    whole = (images.folder / name).read_bytes()
    (images.folder / name).write_bytes(whole + bytes(100))  # padding is no damage
    assert images.problems(decode=decode) == []
    cut = whole[: len(whole) // 2]
    (images.folder / name).write_bytes(cut + bytes(len(whole) - len(cut)) if filled else cut)
    (problem,) = images.problems(decode=decode)
    assert problem.kind == "broken frame" and f"{name}: the file is cut off" in problem.message
    assert capfd.readouterr().err == ""


def test_what_a_camera_writes_behind_a_picture_is_no_damage(images: ImageSet) -> None:
    with (images.folder / "a.jpg").open("ab") as picture:
        picture.write(b"the maker's own data")
    assert images.problems() == []


def test_decoders_are_silent(images: ImageSet, capfd: pytest.CaptureFixture) -> None:
    """libpng and OpenCV write to the terminal themselves, past Python."""
    content = bytearray((images.folder / "a.png").read_bytes())
    content[content.index(b"IDAT") + 20] ^= 255
    (images.folder / "a.png").write_bytes(content)
    images.content["images"][0]["file_name"] = "a.png"
    (problem,) = images.problems(decode=True)
    assert problem.kind == "broken frame"
    assert capfd.readouterr().err == ""


def test_a_name_that_no_file_can_have(images: ImageSet) -> None:
    images.content["images"][0]["file_name"] = "a" * 300
    (problem,) = images.problems()
    assert problem.kind == "missing frame" and "too long" in problem.message


def first(content: dict[str, Any], part: str) -> dict[str, Any]:
    return content[part][0]


NOT_AN_OBJECT = "'x'; an object with"
# A name of the damage -> (what does it, the error that is told).
IMAGE_DAMAGE: dict[str, tuple[Damage, str]] = {
    "image without name": (lambda c: first(c, "images").pop("file_name"), "missing key: image 1: no file_name"),
    "image a text": (lambda c: c["images"].append("x"), f"entry: images[1]: {NOT_AN_OBJECT}"),
    "image id a list": (lambda c: c["images"].append({**c["images"][0], "id": [1]}), "value: images[1]: id is [1]; a "),
    "image height a text": (
        lambda c: first(c, "images").update(height="20"),
        "value: image 1: height is '20'; a whole number of pixels",
    ),
    "annotation a text": (lambda c: c["annotations"].append("x"), f"entry: annotations[1]: {NOT_AN_OBJECT}"),
    "annotation without image": (
        lambda c: first(c, "annotations").pop("image_id"),
        "missing key: annotation 1: no image_id",
    ),
    "annotation without id": (lambda c: first(c, "annotations").pop("id"), "missing key: annotations[0]: no id"),
    "annotation twice": (lambda c: c["annotations"].append(c["annotations"][0]), "duplicate id: annotations: id 1"),
    "empty segmentation": (
        lambda c: first(c, "annotations").update(segmentation=[]),
        "empty mask: annotation 1: a segmentation without pixels",
    ),
    "bad text": (
        lambda c: first(c, "annotations").update(segmentation={"size": [20, 30], "counts": "zzzz!!"}),
        "mask: annotation 1: RLE counts with 'z'",
    ),
    "NaN in a box": (
        lambda c: first(c, "annotations").update(bbox=[float("nan"), 1, 2, 3]),
        "box: annotation 1: box [nan, 1, 2, 3]; four numbers",
    ),
    "no categories": (lambda c: c.update(categories=None), "categories: categories: the file lists none"),
    "category without name": (
        lambda c: first(c, "categories").pop("name"),
        "missing key: category 1: no name",
    ),
}


@pytest.mark.parametrize("damage, told", IMAGE_DAMAGE.values(), ids=IMAGE_DAMAGE.keys())
def test_one_damage_to_images_is_one_error(images: ImageSet, damage: Damage, told: str) -> None:
    damage(images.content)
    (error,) = [str(problem) for problem in images.problems() if problem.is_error]
    assert error.startswith(f"error: {told}")


def test_images_without_labels(images: ImageSet) -> None:
    images.content["annotations"] = None
    (note,) = images.problems()
    assert not note.is_error and note.kind == "unlabelled" and "nothing can be learned" in note.message


def test_a_polygon_thinner_than_a_pixel_is_noted(images: ImageSet) -> None:
    images.content["annotations"][0]["segmentation"] = [[2.1, 2.1, 2.2, 2.1, 2.2, 2.2]]
    (note,) = images.problems()
    assert not note.is_error and note.kind == "empty mask"


def small_video_set() -> dict[str, Any]:
    """Sound: two frames with a mask as a string and one as a list of runs."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5:15, 10:20] = 1
    runs = {"size": [HEIGHT, WIDTH], "counts": [205, *([10, 10] * 9), 10, 205]}
    track = {
        "id": 1,
        "video_id": 1,
        "category_id": 1,
        "bboxes": [[10, 5, 10, 10], [10, 5, 10, 10]],
        "segmentations": [encode_mask(mask), runs],
    }
    video = {"id": 1, "height": HEIGHT, "width": WIDTH, "length": 2, "file_names": ["a/0.jpg", "a/1.jpg"]}
    return {"videos": [video], "annotations": [track], "categories": [{"id": 1, "name": "x"}]}


def replace_in_frame(key: str, frame: int, value: Any) -> Damage:
    return lambda content: first(content, "annotations")[key].__setitem__(frame, value)


def change_counts(change: Callable[[str], str]) -> Damage:
    def damage(content: dict[str, Any]) -> None:
        rle = first(content, "annotations")["segmentations"][0]
        rle["counts"] = change(rle["counts"])

    return damage


VIDEO_DAMAGE: dict[str, tuple[Damage, str]] = {
    "boxes null": (
        lambda c: first(c, "annotations").update(bboxes=None),
        "value: annotation 1: bboxes is None; a list",
    ),
    "video a text": (lambda c: c["videos"].append("x"), f"entry: videos[1]: {NOT_AN_OBJECT}"),
    "annotation a text": (lambda c: c["annotations"].append("x"), f"entry: annotations[1]: {NOT_AN_OBJECT}"),
    "category a text": (lambda c: c["categories"].append("x"), f"entry: categories[1]: {NOT_AN_OBJECT}"),
    "annotations an object": (lambda c: c.update(annotations={"a": 1}), "entry: annotations: {'a': 1}; a list"),
    "a number as file name": (
        lambda c: first(c, "videos").update(file_names=[5, "a/1.jpg"]),
        "value: video 1: file_names is [5, 'a/1.jpg']; a list of strings",
    ),
    "an id of a list": (lambda c: c["videos"].append({**c["videos"][0], "id": [1]}), "value: videos[1]: id is [1]; a "),
    "category without name": (lambda c: first(c, "categories").pop("name"), "missing key: category 1: no name"),
    "no video_id": (lambda c: first(c, "annotations").pop("video_id"), "missing key: annotation 1: no video_id"),
    "no file names": (lambda c: first(c, "videos").pop("file_names"), "missing key: video 1: no file_names"),
    "height a text": (
        lambda c: first(c, "videos").update(height="20"),
        "value: video 1: height is '20'; a whole number",
    ),
    "box of strings": (
        replace_in_frame("bboxes", 0, list("abcd")),
        "box: annotation 1, frame 0: box ['a', 'b', 'c', 'd'];",
    ),
    "box of three": (replace_in_frame("bboxes", 1, [1, 2, 3]), "box: annotation 1, frame 1: box [1, 2, 3]; four"),
    "box with NaN": (
        replace_in_frame("bboxes", 0, [float("nan"), 5, 10, 10]),
        "box: annotation 1, frame 0: box [nan, 5, 10, 10]; four numbers",
    ),
    "no text of counts": (change_counts(lambda _: "zzzz!!"), "mask: annotation 1, frame 0: RLE counts with 'z'"),
    "not ASCII": (change_counts(lambda _: "é"), "mask: annotation 1, frame 0: RLE counts 'é'; their characters"),
    "counts tripled": (change_counts(lambda text: text * 3), "mask: annotation 1, frame 0: "),
    "counts cut short": (change_counts(lambda text: text[:2]), "mask: annotation 1, frame 0: RLE runs cover"),
    "no size": (
        lambda c: first(c, "annotations")["segmentations"][0].pop("size"),
        "mask: annotation 1, frame 0: RLE size None; [height, width] is needed",
    ),
    "negative run": (
        replace_in_frame("segmentations", 1, {"size": [HEIGHT, WIDTH], "counts": [-10, 20, HEIGHT * WIDTH - 10]}),
        "mask: annotation 1, frame 1: an RLE run of -10 pixels",
    ),
    "polygon of strings": (
        replace_in_frame("segmentations", 0, [["a"] * 6]),
        "mask: annotation 1, frame 0: a polygon ['a',",
    ),
}


@pytest.mark.parametrize("damage, told", VIDEO_DAMAGE.values(), ids=VIDEO_DAMAGE.keys())
def test_one_damage_to_videos_is_one_error_and_refused_by_the_reader(tmp_path: Path, damage: Damage, told: str) -> None:
    file = tmp_path / "set.json"
    content = small_video_set()
    file.write_text(json.dumps(content))
    assert check_video_set(file, None) == []
    assert len(read_video_annotations(file).videos) == 1
    damage(content)
    file.write_text(json.dumps(content))
    (error,) = [str(problem) for problem in check_video_set(file, None) if problem.is_error]
    assert error.startswith(f"error: {told}")
    message = error.removeprefix("error: ").split(": ", maxsplit=1)[1]
    with pytest.raises(UserError) as refused:
        read_video_annotations(file)
    advice = "for the whole list: tools/segmentation/prepare.py check FILE@FRAMES"
    assert str(refused.value) == f"{file}: {message}; {advice}"


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
