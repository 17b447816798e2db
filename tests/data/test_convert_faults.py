"""Faulty labels of other tools: one line that names the file, the entry and what is needed, and no wrong labels."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from mindvideo.data.importers.builder import VisBuilder
from mindvideo.data.importers.coco_video import convert_coco_video
from mindvideo.data.importers.cvat import convert_cvat_video
from mindvideo.data.importers.labelme import convert_labelme
from mindvideo.data.importers.mask_folders import convert_mask_folders
from mindvideo.errors import UserError
from tests.data.test_converters import (
    CVAT_XML,
    HEIGHT,
    WIDTH,
    coco_video_file,
    labelme_file,
    palette_png,
    png_text,
    polygon,
    rectangle,
    write_pictures,
)

TURNED = 6  # EXIF orientation: a quarter turn
UPSIDE_DOWN = 3
Change = Callable[[dict[str, Any]], object]


def assert_refused(convert: Callable[[], object], *parts: str) -> None:
    """One line that has every part."""
    with pytest.raises(UserError) as caught:
        convert()
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def picture_with_orientation(path: Path, size: tuple[int, int], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], (90, 120, 40)).save(path, exif=exif)


@pytest.mark.parametrize(
    ("names", "message"),
    [(["cow", "bird", "cow"], "'cow' is there 2 times"), (["cow", " "], "a name is empty"), ([], "none; at least one")],
)
def test_category_lists_with_repeated_or_empty_names(names: list[str], message: str) -> None:
    assert_refused(lambda: VisBuilder(categories=names), "the given categories", message)


# ---------------------------------------------------------------- COCO-video


def changed_coco(tmp_path: Path, change: Change) -> Path:
    file = coco_video_file(tmp_path)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    return file


def coco_text(mask: np.ndarray) -> str:
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


def first(part: str, **values: object) -> Change:
    """Sets fields of the first entry of a list; None takes them out."""

    def change(content: dict[str, Any]) -> None:
        for key, value in values.items():
            content[part][0].pop(key, None)
            if value is not None:
                content[part][0][key] = value

    return change


def run_lengths(counts: object) -> Change:
    return first("annotations", segmentation={"size": [HEIGHT, WIDTH], "counts": counts})


COCO_FAULTS: dict[str, tuple[Change, str]] = {
    "no categories": (lambda content: content.pop("categories"), "'categories' is missing; a list"),
    "category without name": (first("categories", name=None), "'categories[0].name' is missing; a string"),
    "category id twice": (first("categories", id=4), "categories[1]: id 4 is there already"),
    "category name twice": (first("categories", name="bird"), "categories: 'bird' is there 2 times"),
    "no height": (first("images", height=None), "'images[0].height' is missing; a whole number of at least 1"),
    "no file name": (first("images", file_name=None), "'images[0].file_name' is missing; a string"),
    "image id twice": (lambda content: content["images"].append(content["images"][0]), "two images have the id 7"),
    "image is a text": (lambda content: content["images"].insert(0, "a"), "'images[0]' is 'a'; an entry"),
    "images is no list": (lambda content: content.update(images={"a": 1}), "'images' is {'a': 1}; a list"),
    "frame id is a text": (first("images", frame_id="2"), "'images[0].frame_id' is '2'; a whole number"),
    "frame id here and there": (first("images", frame_id=None), "images 7 and 5 of one video: one has a frame_id"),
    "size differs": (first("images", height=HEIGHT + 1), "image 5 differs in size from the first of its video"),
    "no annotations": (lambda content: content.update(annotations=None), "no labelled instance was found"),
    "annotation is a text": (lambda content: content["annotations"].insert(0, "a"), "'annotations[0]' is 'a'; an"),
    "no image id": (first("annotations", image_id=None), "annotation 1: 'image_id' is missing"),
    "no id": (first("annotations", image_id=None, id=None), "annotations[0]: 'image_id' is missing"),
    "unknown image": (first("annotations", image_id=99), "annotation 1: its image 99 is not listed in 'images'"),
    "no category id": (first("annotations", category_id=None), "annotation 1: 'category_id' is missing"),
    "unknown category": (first("annotations", category_id=5), "annotation 1: category_id 5 is not listed"),
    "track id is a list": (first("annotations", instance_id=[1]), "annotation 1: 'instance_id' is [1]; a whole"),
    "attributes is a text": (first("annotations", attributes="a"), "annotation 1: 'attributes' is 'a'; an entry"),
}


@pytest.mark.parametrize("fault", COCO_FAULTS)
def test_coco_faults(tmp_path: Path, fault: str) -> None:
    change, message = COCO_FAULTS[fault]
    file = changed_coco(tmp_path, change)
    assert_refused(lambda: convert_coco_video(file), "" if fault == "no annotations" else f"{file}: ", message)


SQUARE_TEXT = coco_text(rectangle(4, 4, 6, 6))
COCO_MASK_FAULTS: dict[str, tuple[Change, str]] = {
    "nothing drawn": (first("annotations", segmentation=[]), "it has no segmentation and no bbox"),
    "bbox of three": (first("annotations", segmentation=[], bbox=[1, 2, 3]), "no bbox [x, y, width, height]"),
    "bbox of strings": (first("annotations", segmentation=[], bbox=["a"] * 4), "its points are not pairs of numbers"),
    "polygon of strings": (first("annotations", segmentation=[["a"] * 6]), ""),
    "polygon of pairs": (first("annotations", segmentation=[[[1, 2]] * 4]), ""),
    "polygon far away": (first("annotations", segmentation=[[0, 0, 1e12, 0, 1e12, 1]]), ""),
    "other size": (
        first("annotations", segmentation={"size": [10, 16], "counts": coco_text(np.ones((10, 16)))}),
        "[10, 16]",
    ),
    "wrong characters": (run_lengths("zzzz!!"), "RLE"),
    "text too short": (run_lengths(SQUARE_TEXT[:2]), "RLE"),
    "text too long": (run_lengths(SQUARE_TEXT * 2), "RLE"),
    "text cut in a run": (run_lengths("`"), "RLE"),
    "runs too short": (run_lengths([4, 5]), "RLE runs cover 9 pixels"),
    "negative runs": (run_lengths([-10, 20, HEIGHT * WIDTH - 10]), "RLE"),
    "runs of strings": (run_lengths(["a"]), "RLE"),
    "runs are missing": (run_lengths(None), "counts of type NoneType"),
}


@pytest.mark.parametrize("fault", COCO_MASK_FAULTS)
def test_coco_masks_that_cannot_be_used(tmp_path: Path, fault: str) -> None:
    change, message = COCO_MASK_FAULTS[fault]
    file = changed_coco(tmp_path, change)
    assert_refused(lambda: convert_coco_video(file), f"{file}: annotation 1: ", message)


def test_every_rle_text_is_accepted(tmp_path: Path) -> None:
    """Long runs and runs shorter than those before, whose text is more than one character or negative."""
    random = np.random.default_rng(5)
    for share in (0.001, 0.02, 0.5, 0.99, 1.0):
        mask = (random.random((HEIGHT, WIDTH)) < share).astype(np.uint8)
        mask[3:9, 4] = 1
        file = changed_coco(tmp_path, run_lengths(coco_text(mask)))
        assert convert_coco_video(file)["annotations"][0]["areas"][0] == mask.sum()


def test_coco_sizes_are_held_against_the_pictures(tmp_path: Path) -> None:
    file = coco_video_file(tmp_path)
    assert convert_coco_video(file, tmp_path) == convert_coco_video(file)
    Image.new("RGB", (2 * WIDTH, 2 * HEIGHT)).save(tmp_path / "clip_a/2.jpg")
    assert_refused(lambda: convert_coco_video(file, tmp_path), "clip_a/2.jpg is 40 x 64", "labelled as 20 x 32")
    (tmp_path / "clip_a/2.jpg").unlink()
    assert_refused(lambda: convert_coco_video(file, tmp_path), "clip_a/2.jpg: no such file")


# ---------------------------------------------------------------- labelme


def labelme_video(root: Path, shapes: list[dict[str, Any]], change: Change | None = None) -> Path:
    """One video of one frame; its JSON file."""
    write_pictures(root, ["v/0.jpg"])
    file = root / "v/0.json"
    labelme_file(file, shapes)
    if change is not None:
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))
    return file


def colour_png() -> str:
    stream = io.BytesIO()
    Image.new("RGB", (3, 3)).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()


ONES = png_text(np.ones((6, 5)))
SHAPE_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no label": ({"label": None}, "'shapes[0].label' is missing; a string"),
    "label is a number": ({"label": 3}, "'shapes[0].label' is 3; a string"),
    "group is a list": ({"group_id": [1]}, "'shapes[0].group_id' is [1]; a whole number or a string"),
    "no points": ({"points": None}, "shapes[0], 'dog': its points are missing"),
    "points are texts": ({"points": [["a", "b"]] * 3}, "shapes[0], 'dog': its points are not pairs of numbers"),
    "two points": ({"points": [[1, 1], [2, 2]]}, "shapes[0], 'dog': it has 2 points; at least 3"),
    "circle of one point": ({"shape_type": "circle", "points": [[1, 1]]}, "'dog': it has 1 points; at least 2"),
    "rectangle of one point": ({"shape_type": "rectangle", "points": [[1, 1]]}, "'dog': it has 1 points; at least 2"),
    "mask is missing": ({"shape_type": "mask"}, "shapes[0], 'dog': 'mask' is missing"),
    "mask is no picture": ({"shape_type": "mask", "mask": "!!!notb64"}, "'dog': its 'mask' is no picture in base64"),
    "mask of colours": ({"shape_type": "mask", "mask": colour_png()}, "'dog': its 'mask' is a colour picture"),
    "mask left of the frame": (
        {"shape_type": "mask", "mask": ONES, "points": [[-3, 2], [1, 7]]},
        "'dog': a mask of 6 x 5 (height x width) at x -3, y 2 reaches over the border of the frame of 20 x 32",
    ),
    "mask right of the frame": ({"shape_type": "mask", "mask": ONES, "points": [[29, 2], [33, 7]]}, "over the border"),
}


@pytest.mark.parametrize("fault", SHAPE_FAULTS)
def test_labelme_shape_faults(tmp_path: Path, fault: str) -> None:
    values, message = SHAPE_FAULTS[fault]
    file = labelme_video(tmp_path, [{**polygon("dog", 2), **values}])
    assert_refused(lambda: convert_labelme(tmp_path), f"{file}: ", message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("imageHeight"), "0.json: 'imageHeight' is missing; a whole number"),
        (lambda content: content.pop("shapes"), "0.json: 'shapes' is missing; a list of entries"),
        (lambda content: content.update(shapes=["a"]), "0.json: 'shapes[0]' is 'a'; an entry"),
        (
            lambda content: content.update(imageHeight=40, imageWidth=64),
            "v/0.jpg is 20 x 32 (height x width), labelled",
        ),
    ],
)
def test_labelme_file_faults(tmp_path: Path, change: Change, message: str) -> None:
    labelme_video(tmp_path, [polygon("dog", 2)], change)
    assert_refused(lambda: convert_labelme(tmp_path), message)


def test_labelme_file_that_is_a_list(tmp_path: Path) -> None:
    file = labelme_video(tmp_path, [])
    file.write_text("[1]")
    assert_refused(lambda: convert_labelme(tmp_path), f"{file}: 'content' is [1]; an entry of names and values")


def test_labelme_frames_without_labels_are_of_the_same_size(tmp_path: Path) -> None:
    labelme_video(tmp_path, [polygon("dog", 2)])
    Image.new("RGB", (WIDTH, HEIGHT + 1)).save(tmp_path / "v/1.jpg")
    assert_refused(lambda: convert_labelme(tmp_path), "v/1.jpg is 21 x 32", "labelled as 20 x 32")


@pytest.mark.parametrize(("stored", "orientation"), [((WIDTH, HEIGHT), TURNED), ((HEIGHT, WIDTH), UPSIDE_DOWN)])
def test_labels_of_a_picture_turned_by_exif_are_refused(
    tmp_path: Path, stored: tuple[int, int], orientation: int
) -> None:
    """labelme shows the turned picture, training reads the stored one."""
    labelme_video(tmp_path, [polygon("dog", 2)])
    picture_with_orientation(tmp_path / "v/0.jpg", stored, orientation)
    parts = (f"0.jpg has the EXIF orientation {orientation}", "rewrite the picture without the EXIF orientation")
    assert_refused(lambda: convert_labelme(tmp_path), *parts)


def test_masks_of_the_stored_pixels_are_accepted_whatever_exif_says(tmp_path: Path) -> None:
    palette_png(tmp_path / "masks/v/0.png", rectangle(2, 2, 6, 6))
    picture_with_orientation(tmp_path / "frames/v/0.jpg", (HEIGHT, WIDTH), TURNED)
    assert convert_mask_folders(tmp_path / "masks", tmp_path / "frames")["annotations"][0]["areas"] == [36]
    palette_png(tmp_path / "masks/v/0.png", rectangle(2, 2, 6, 6).T)
    assert_refused(lambda: convert_mask_folders(tmp_path / "masks", tmp_path / "frames"), "EXIF orientation 6")


def test_folders_without_labels_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labelme_video(tmp_path, [polygon("dog", 2)])
    write_pictures(tmp_path, ["notes/0.jpg", ".ipynb_checkpoints/0.jpg"])
    with caplog.at_level("WARNING", logger="mindvideo.data"):
        content = convert_labelme(tmp_path)
    assert [video["file_names"] for video in content["videos"]] == [["v/0.jpg"]]
    assert [re.sub(".*/", "", record.getMessage()) for record in caplog.records] == [
        "notes holds no .json files and is left out"
    ]
    one_video = convert_labelme(tmp_path / "v")
    (tmp_path / "v/notes").mkdir()
    assert convert_labelme(tmp_path / "v") == one_video
    assert_refused(lambda: convert_labelme(tmp_path / "notes"), "does not hold frames with labelme JSON files")
    assert_refused(lambda: convert_labelme(tmp_path / "none"), "none: no such folder")


# ---------------------------------------------------------------- CVAT for video 1.1

BOX = '<box frame="10" outside="0" xtl="5" ytl="5" xbr="9" ybr="9"/>'


def with_box(**values: str) -> tuple[str, str]:
    """A box before the mask of track 2, with attributes changed or, if empty, taken out."""
    box = BOX
    for name, value in values.items():
        box = re.sub(f' {name}="[^"]*"', f' {name}="{value}"' if value else "", box)
    return "<mask ", f"{box}<mask "


CVAT_FAULTS: dict[str, tuple[tuple[str, str], str]] = {
    "no frame": (with_box(frame=""), "track 2, a box: 'frame' is missing"),
    "bad frame": (with_box(frame="x"), "track 2, a box: 'frame' is 'x'; a number"),
    "no corner": (with_box(xtl=""), "track 2, frame 10: 'xtl' is missing; a number"),
    "corner is no number": (with_box(xtl="nan"), "track 2, frame 10: 'xtl' is 'nan'; a number"),
    "no points": ((' points="4.00,4.00;12.00,4.00;12.00,10.00;4.00,10.00"', ""), "track 0, frame 10: 'points' is miss"),
    "bad points": (("12.00,10.00;4.00", "a,10.00;4.00"), "track 0, frame 10: 'points' is 'a'; a number"),
    "odd points": (("12.00,10.00;4.00", "12.00;4.00"), "track 0, frame 10: 'points' has '12.00'; x,y pairs"),
    "no runs": ((' rle="1, 2, 1, 2"', ""), "track 2, frame 16: 'rle' is missing"),
    "bad runs": (("1, 2, 1, 2", "1, x"), "track 2, frame 16: 'rle' is ' x'; a number"),
    "too few runs": (("1, 2, 1, 2", "1, 2"), "track 2, frame 16: runs cover 3 pixels, the mask's box has 6"),
    "mask without place": ((' left="3"', ""), "track 2, frame 16: 'left' is missing"),
    "mask over the border": (('left="3"', 'left="31"'), "track 2, frame 16: a mask of 3 x 2 (height x width) at x 31"),
    "bad width": (("<width>32", "<width>x"), "'original_size width' is 'x'; a number"),
    "no height": (("<height>20</height>", ""), "'original_size height' is missing"),
    "bad stop": (("<stop_frame>16", "<stop_frame>x"), "'stop_frame' is 'x'; a number"),
    "step 0": (("step=2", "step=0"), "'frame_filter step' is '0'; a whole number of at least 1"),
    "bad step": (("step=2", "step=q"), "'frame_filter step' is 'q'; a number"),
    "no label": (('<track id="2" label="cow"', '<track id="2"'), "track 2: 'label' is missing; a string"),
    "two tasks": (('<track id="2"', '<track id="2" task_id="7"'), "a project, whose tasks are videos of their own"),
    "project": (("<task>", "<project></project><task>"), "export each task by itself"),
}


@pytest.mark.parametrize("fault", CVAT_FAULTS)
def test_cvat_faults(tmp_path: Path, fault: str) -> None:
    (before, after), message = CVAT_FAULTS[fault]
    assert before in CVAT_XML
    write_pictures(tmp_path / "frames", [f"{number}.jpg" for number in range(4)])
    file = tmp_path / "annotations.xml"
    file.write_text(CVAT_XML.replace(before, after))
    assert_refused(lambda: convert_cvat_video(file, tmp_path / "frames"), f"{file}: ", message)


def test_cvat_frames_that_do_not_fit(tmp_path: Path) -> None:
    file = tmp_path / "annotations.xml"
    file.write_text(CVAT_XML)
    frames = tmp_path / "frames"
    assert_refused(lambda: convert_cvat_video(file, frames), f"--frames {frames}: no such folder")
    write_pictures(frames, [".ipynb_checkpoints/0.jpg"])
    assert_refused(lambda: convert_cvat_video(file, frames), f"--frames {frames}: no pictures in this folder")
    write_pictures(frames, [f"{number}.jpg" for number in range(4)])
    assert len(convert_cvat_video(file, frames)["videos"][0]["file_names"]) == 4
    Image.new("RGB", (2 * WIDTH, 2 * HEIGHT)).save(frames / "3.jpg")
    assert_refused(lambda: convert_cvat_video(file, frames), "3.jpg is 40 x 64", f"labelled as 20 x 32 in {file}")


# ---------------------------------------------------------------- DAVIS and YouTube-VOS


@pytest.fixture
def mask_set(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of masks and frames of one video of one frame with the object 1."""
    palette_png(tmp_path / "masks/bear/0.png", rectangle(2, 2, 6, 6))
    write_pictures(tmp_path / "frames", ["bear/0.jpg"])
    return tmp_path / "masks", tmp_path / "frames"


def test_masks_that_cannot_be_read(mask_set: tuple[Path, Path]) -> None:
    file = mask_set[0] / "bear/0.png"
    whole = file.read_bytes()
    jpeg = (mask_set[1] / "bear/0.jpg").read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2], jpeg):
        file.write_bytes(content)
        assert_refused(lambda: convert_mask_folders(*mask_set), f"{file}: not a PNG that can be read")


def test_masks_of_another_size(mask_set: tuple[Path, Path]) -> None:
    palette_png(mask_set[0] / "bear/0.png", rectangle(2, 2, 6, 6)[:10, :16])
    assert_refused(lambda: convert_mask_folders(*mask_set), "bear/0.jpg is 20 x 32", "labelled as 10 x 16", "0.png")
    assert_refused(lambda: convert_mask_folders(mask_set[0], mask_set[1] / "no"), "--frames", "no: no such folder")


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"vid": 1}, "meta.json: 'videos' is missing; an entry"),
        ({"videos": {"bear": {}}}, "meta.json: 'videos.bear.objects' is missing"),
        ({"videos": {"bear": {"objects": {"1": {}}}}}, "meta.json: 'videos.bear.objects.1.category' is missing"),
        ({"videos": {"bear": {"objects": {"a": {"category": "bear"}}}}}, "'videos.bear.objects' has 'a'; the number"),
        ({"videos": {"fish": {"objects": {}}}}, "meta.json does not list the video 'bear'"),
        ({"videos": {"bear": {"objects": {"2": {"category": "bear"}}}}}, "names no category for its object 1"),
    ],
)
def test_meta_faults(mask_set: tuple[Path, Path], tmp_path: Path, meta: dict[str, Any], message: str) -> None:
    file = tmp_path / "meta.json"
    file.write_text(json.dumps(meta))
    assert_refused(lambda: convert_mask_folders(*mask_set, meta=file), message)
