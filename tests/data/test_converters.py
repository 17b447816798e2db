"""Each converter on a small input in the format that the real tool writes."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from mindvideo.data.importers.coco_video import convert_coco_video
from mindvideo.data.importers.cvat import convert_cvat_video
from mindvideo.data.importers.labelme import convert_labelme
from mindvideo.data.importers.mask_folders import convert_mask_folders
from mindvideo.data.labels.check import check_video_set
from mindvideo.data.labels.videos import read_video_annotations
from mindvideo.errors import UserError

HEIGHT, WIDTH = 20, 32


def write_pictures(folder: Path, names: list[str]) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 40)).save(path)


def assert_reads_back(content: dict[str, Any], frames: Path, tmp_path: Path) -> None:
    """The result is a set without errors that the reader takes."""
    file = tmp_path / "converted.json"
    file.write_text(json.dumps(content))
    assert [str(problem) for problem in check_video_set(file, frames) if problem.is_error] == []
    assert len(read_video_annotations(file).videos) == len(content["videos"])


def decoded(entry: dict[str, Any]) -> list[np.ndarray | None]:
    return [None if rle is None else coco_mask.decode(rle) for rle in entry["segmentations"]]


def rectangle(x: int, y: int, width: int, height: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y : y + height, x : x + width] = 1
    return mask


# ---------------------------------------------------------------- COCO-video and CVAT's COCO export


def coco_video_file(tmp_path: Path) -> Path:
    names = [f"clip_a/{number}.jpg" for number in (1, 2, 10)] + ["clip_b/1.jpg"]
    write_pictures(tmp_path, names)
    images = [
        {"id": 7, "video_id": 1, "frame_id": 2, "file_name": names[2], "height": HEIGHT, "width": WIDTH},
        {"id": 5, "video_id": 1, "frame_id": 0, "file_name": names[0], "height": HEIGHT, "width": WIDTH},
        {"id": 6, "video_id": 1, "frame_id": 1, "file_name": names[1], "height": HEIGHT, "width": WIDTH},
        {"id": 8, "video_id": 2, "frame_id": 0, "file_name": names[3], "height": HEIGHT, "width": WIDTH},
    ]
    square = [[4, 4, 12, 4, 12, 10, 4, 10]]
    crowd = coco_mask.encode(np.asfortranarray(rectangle(20, 2, 5, 6)))
    annotations = [
        {"id": 1, "image_id": 5, "video_id": 1, "instance_id": 3, "category_id": 9, "segmentation": square},
        {"id": 2, "image_id": 7, "video_id": 1, "instance_id": 3, "category_id": 9, "segmentation": square},
        {
            "id": 3,
            "image_id": 8,
            "video_id": 2,
            "instance_id": 1,
            "category_id": 4,
            "segmentation": {"size": crowd["size"], "counts": crowd["counts"].decode()},
        },
    ]
    content = {
        "videos": [{"id": 1, "name": "clip_a"}, {"id": 2, "name": "clip_b"}],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 9, "name": "zebra"}, {"id": 4, "name": "bird"}],
    }
    file = tmp_path / "coco_video.json"
    file.write_text(json.dumps(content))
    return file


def test_coco_video(tmp_path: Path) -> None:
    content = convert_coco_video(coco_video_file(tmp_path))
    assert [video["file_names"] for video in content["videos"]] == [
        ["clip_a/1.jpg", "clip_a/2.jpg", "clip_a/10.jpg"],
        ["clip_b/1.jpg"],
    ]
    assert content["categories"] == [{"id": 1, "name": "bird"}, {"id": 2, "name": "zebra"}]
    zebra, bird = content["annotations"]
    assert (zebra["video_id"], zebra["category_id"], bird["video_id"], bird["category_id"]) == (1, 2, 2, 1)
    assert zebra["bboxes"] == [[4.0, 4.0, 8.0, 6.0], None, [4.0, 4.0, 8.0, 6.0]]
    assert zebra["areas"] == [48, None, 48]
    np.testing.assert_array_equal(decoded(bird)[0], rectangle(20, 2, 5, 6))
    assert_reads_back(content, tmp_path, tmp_path)


def cvat_coco_export(tmp_path: Path, with_tracks: bool = True) -> Path:
    """CVAT's file of 'COCO 1.0' for a video task: no video ids, tracks inside the attributes."""
    names = ["frame_000000.PNG", "frame_000001.PNG"]
    write_pictures(tmp_path, names)
    attributes = {"occluded": False, "rotation": 0.0, **({"track_id": 0, "keyframe": True} if with_tracks else {})}
    runs = {"size": [HEIGHT, WIDTH], "counts": [4 * HEIGHT + 4, 6, HEIGHT - 6, 6, (WIDTH - 5) * HEIGHT - 10]}
    images = [
        {
            "id": number + 1,
            "width": WIDTH,
            "height": HEIGHT,
            "file_name": name,
            "license": 0,
            "flickr_url": "",
            "coco_url": "",
            "date_captured": 0,
        }
        for number, name in enumerate(names)
    ]
    annotations = [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "segmentation": [[4.0, 4.0, 12.0, 4.0, 12.0, 10.0]],
            "area": 24.0,
            "bbox": [4.0, 4.0, 8.0, 6.0],
            "iscrowd": 0,
            "attributes": attributes,
        },
        {
            "id": 2,
            "image_id": 2,
            "category_id": 1,
            "segmentation": runs,
            "area": 12,
            "bbox": [4, 4, 2, 6],
            "iscrowd": 1,
            "attributes": attributes,
        },
    ]
    runs["counts"][-1] = HEIGHT * WIDTH - sum(runs["counts"][:-1])
    content = {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": "", "description": "", "url": "", "version": "", "year": ""},
        "categories": [{"id": 1, "name": "cow", "supercategory": ""}],
        "images": images,
        "annotations": annotations,
    }
    file = tmp_path / "instances_default.json"
    file.write_text(json.dumps(content))
    return file


def test_cvat_coco_export(tmp_path: Path) -> None:
    content = convert_coco_video(cvat_coco_export(tmp_path))
    (track,) = content["annotations"]
    assert track["iscrowd"] == 0  # CVAT marks masks as crowds
    assert track["areas"][1] == 12
    np.testing.assert_array_equal(decoded(track)[1], rectangle(4, 4, 2, 6))
    assert_reads_back(content, tmp_path, tmp_path)


def test_cvat_coco_export_of_shapes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="annotation 1: no instance_id or track_id.*draw tracks, not shapes"):
        convert_coco_video(cvat_coco_export(tmp_path, with_tracks=False))


def coco_rectangles(tmp_path: Path, box: list[float], rotation: float = 0.0) -> Path:
    """CVAT's export of a rectangle: only the bbox, before it is turned."""
    file = cvat_coco_export(tmp_path)
    content = json.loads(file.read_text())
    for entry in content["annotations"]:
        entry.update(segmentation=[], bbox=box, iscrowd=0)
        entry["attributes"]["rotation"] = rotation
    file.write_text(json.dumps(content))
    return file


def test_boxes_stand_in_for_segmentations_that_are_missing(tmp_path: Path) -> None:
    content = convert_coco_video(coco_rectangles(tmp_path, [4.0, 4.0, 8.0, 6.0]))
    (track,) = content["annotations"]
    assert track["bboxes"] == [[4.0, 4.0, 8.0, 6.0]] * 2 and track["areas"] == [48, 48]
    assert_reads_back(content, tmp_path, tmp_path)
    turned = convert_coco_video(coco_rectangles(tmp_path, [4.0, 4.0, 8.0, 6.0], rotation=90.0))
    assert turned["annotations"][0]["bboxes"][0] == [5.0, 3.0, 6.0, 8.0]


def test_tracks_without_a_pixel_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outside = [WIDTH + 4.0, 2.0, 8.0, 6.0]
    with pytest.raises(UserError, match=r"no labelled instance was found \(1 tracks have no pixel in any frame\)"):
        convert_coco_video(coco_rectangles(tmp_path, outside))
    file = coco_video_file(tmp_path)
    content = json.loads(file.read_text())
    content["annotations"][2].update(segmentation=[], bbox=outside)
    file.write_text(json.dumps(content))
    with caplog.at_level("WARNING", logger="mindvideo.data"):
        converted = convert_coco_video(file)
    assert [entry["video_id"] for entry in converted["annotations"]] == [1]
    assert "1 tracks have no pixel in any frame and are left out" in caplog.text


# ---------------------------------------------------------------- labelme


def labelme_file(path: Path, shapes: list[dict[str, Any]]) -> None:
    content = {
        "version": "5.5.0",
        "flags": {},
        "shapes": [{"group_id": None, "description": "", "flags": {}, "mask": None, **shape} for shape in shapes],
        "imagePath": path.with_suffix(".jpg").name,
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }
    path.write_text(json.dumps(content))


def polygon(label: str, x: int, group: int | None = None) -> dict[str, Any]:
    points = [[x, 4], [x + 8, 4], [x + 8, 10], [x, 10]]
    return {"label": label, "points": points, "group_id": group, "shape_type": "polygon"}


def png_text(mask: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(mask.astype(bool)).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()


def test_labelme(tmp_path: Path) -> None:
    root = tmp_path / "videos"
    write_pictures(root, [f"walk/f{number}.jpg" for number in (1, 2, 10)])
    labelme_file(root / "walk/f1.json", [polygon("dog", 2, 1), polygon("dog", 14, 2), polygon("cat", 22)])
    mask = {"label": "cat", "shape_type": "mask", "points": [[20, 3], [24, 8]], "mask": png_text(np.ones((6, 5)))}
    box = {"label": "dog", "shape_type": "rectangle", "points": [[12, 9], [4, 5]], "group_id": 1}
    circle = {"label": "dog", "shape_type": "circle", "points": [[16, 10], [16, 15]], "group_id": 2}
    labelme_file(root / "walk/f10.json", [box, circle, mask])
    content = convert_labelme(root)
    assert content["videos"][0]["file_names"] == ["walk/f1.jpg", "walk/f2.jpg", "walk/f10.jpg"]
    assert [category["name"] for category in content["categories"]] == ["cat", "dog"]
    first, second, cat = content["annotations"]
    assert first["bboxes"] == [[2.0, 4.0, 8.0, 6.0], None, [4.0, 5.0, 8.0, 4.0]]
    assert abs(second["areas"][2] - np.pi * 25) < 8
    np.testing.assert_array_equal(decoded(cat)[2], rectangle(20, 3, 5, 6))
    assert_reads_back(content, root, tmp_path)


def test_labelme_needs_group_ids_for_equal_labels(tmp_path: Path) -> None:
    write_pictures(tmp_path / "v", ["0.jpg"])
    labelme_file(tmp_path / "v/0.json", [polygon("dog", 2), polygon("dog", 14)])
    with pytest.raises(UserError, match="two shapes 'dog' without group id"):
        convert_labelme(tmp_path)
    labelme_file(tmp_path / "v/0.json", [{**polygon("dog", 2), "shape_type": "line"}])
    with pytest.raises(UserError, match=r"shapes\[0\], 'dog': a line has no area"):
        convert_labelme(tmp_path)


# ---------------------------------------------------------------- CVAT for video 1.1

CVAT_XML = (Path(__file__).parent / "fixtures/cvat_video.xml").read_text()


def test_cvat_for_video(tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    write_pictures(frames, [f"frame_{number:06d}.jpg" for number in range(4)])
    file = tmp_path / "annotations.xml"
    file.write_text(CVAT_XML)
    content = convert_cvat_video(file, frames)
    cow, bird, calf = content["annotations"]
    assert [category["name"] for category in content["categories"]] == ["bird", "cow"]
    assert cow["bboxes"] == [[4.0, 4.0, 8.0, 6.0], [6.0, 4.0, 8.0, 6.0], None, None]
    # Between the two key frames the box is half way; after the last it stays.
    assert [box[0] for box in bird["bboxes"]] == [20.0, 22.0, 24.0, 24.0]
    assert all(box[1:] == [2.0, 4.0, 6.0] for box in bird["bboxes"])
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[5:8, 3:5] = [[0, 1], [1, 0], [1, 1]]
    np.testing.assert_array_equal(decoded(calf)[3], expected)
    assert decoded(calf)[:3] == [None] * 3
    assert_reads_back(content, frames, tmp_path)


def test_cvat_masks_of_a_group_are_one_object(tmp_path: Path) -> None:
    """The brush leaves a track of one frame for each mask; objects are groups of them."""
    write_pictures(tmp_path / "frames", [f"{number}.png" for number in range(3)])
    mask = 'rle="0,12" left="2" top="3" width="4" height="3"'
    tracks = [
        f'<track id="{number}" label="{label}" source="manual" group_id="{group}">'
        f'<mask frame="{frame}" keyframe="1" outside="0" {mask}/>'
        f'<mask frame="{frame + 1}" keyframe="1" outside="1" {mask}/>'
        "</track>"
        for number, (label, group, frame) in enumerate([("cow", 1, 0), ("cow", 1, 1), ("cow", 2, 1), ("cow", 0, 0)])
    ]
    meta = f"<meta><task><original_size><width>{WIDTH}</width><height>{HEIGHT}</height></original_size></task></meta>"
    file = tmp_path / "annotations.xml"
    file.write_text(f"<annotations>{meta}{''.join(tracks)}</annotations>")
    content = convert_cvat_video(file, tmp_path / "frames")
    seen = sorted([rle is not None for rle in entry["segmentations"]] for entry in content["annotations"])
    assert seen == [[False, True, False], [True, False, False], [True, True, False]]


def cvat_track(*boxes: tuple[int, int, int]) -> str:
    """A track of boxes, each of (frame, keyframe, outside)."""
    shapes = "".join(
        f'<box frame="{frame}" keyframe="{keyframe}" outside="{outside}" xtl="2" ytl="2" xbr="8" ybr="8"/>'
        for frame, keyframe, outside in boxes
    )
    return f'<track id="0" label="cow">{shapes}</track>'


@pytest.mark.parametrize(
    "track, reasons",
    [
        (
            cvat_track((0, 1, 0), (29, 1, 0), (249, 1, 1)),
            ["249 of 250 frames show a labelled object; the other 1 "],
        ),
        (
            cvat_track((0, 1, 0), (29, 1, 0), (30, 1, 1)),
            ["30 of 250 frames show a labelled object; the other 220"],
        ),
        (cvat_track((0, 1, 0), (29, 1, 0)), ["shapes stand still in 220 of 250 frames"]),
        (cvat_track((0, 1, 0), *((frame, 0, 0) for frame in range(1, 250))), ["shapes stand still in 249 of 250"]),
        (cvat_track((0, 1, 0), (249, 1, 0)), []),
    ],
    ids=["the last frame", "ended", "key frames only", "as exported", "whole"],
)
def test_cvat_says_what_becomes_of_unlabelled_frames(
    tmp_path: Path, track: str, reasons: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    frames = tmp_path / "frames"
    write_pictures(frames, [f"{number:03d}.png" for number in range(250)])
    file = tmp_path / "annotations.xml"
    size = f"<original_size><width>{WIDTH}</width><height>{HEIGHT}</height></original_size>"
    file.write_text(f"<annotations><meta><task>{size}</task></meta>{track}</annotations>")
    with caplog.at_level("WARNING"):
        convert_cvat_video(file, frames)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == len(reasons)
    for line, reason in zip(lines, reasons):
        assert line.startswith(f"{file}: {reason}")


def cvat_boxes(tmp_path: Path, *boxes: str) -> dict[str, Any]:
    """The converted track of boxes at frames 10, 12, ..."""
    frames = tmp_path / "frames"
    write_pictures(frames, [f"{number}.jpg" for number in range(4)])
    file = tmp_path / "annotations.xml"
    file.write_text(CVAT_XML.split("<track")[0] + f'<track id="0" label="cow">{"".join(boxes)}</track></annotations>')
    (track,) = convert_cvat_video(file, frames)["annotations"]
    return track


def cvat_box(frame: int, rotation: float) -> str:
    """12 x 4 about the centre (16, 10)."""
    corners = 'xtl="10" ytl="8" xbr="22" ybr="12"'
    return f'<box frame="{frame}" outside="0" {corners} rotation="{rotation}"></box>'


def test_cvat_boxes_keep_their_rotation(tmp_path: Path) -> None:
    upright = cvat_boxes(tmp_path, cvat_box(10, 90))
    assert upright["bboxes"][0] == [14.0, 4.0, 4.0, 12.0]
    slanted = decoded(cvat_boxes(tmp_path, cvat_box(10, 45)))[0]
    assert slanted[13, 19] and slanted[7, 13]  # clockwise: the right end goes down
    assert not slanted[7, 19] and not slanted[13, 13]
    assert abs(int(slanted.sum()) - 48) <= 8  # pixels on the edge


def test_cvat_rotation_goes_the_shorter_way_between_key_frames(tmp_path: Path) -> None:
    """From 350 to 50 degrees over three frames: by 20 a frame, not by -100."""
    track = cvat_boxes(tmp_path, cvat_box(10, 350), cvat_box(16, 50))
    assert track["segmentations"][1:3] == cvat_boxes(tmp_path, cvat_box(10, 10), cvat_box(12, 30))["segmentations"][:2]


def test_cvat_mistakes_are_named(tmp_path: Path) -> None:
    write_pictures(tmp_path / "frames", ["0.jpg", "1.jpg", "2.jpg"])
    file = tmp_path / "annotations.xml"
    file.write_text(CVAT_XML)
    with pytest.raises(UserError, match="track 2 has a shape in frame 16, which is none of the 3 frames"):
        convert_cvat_video(file, tmp_path / "frames")
    file.write_text("<annotations><image id='0'/></annotations>")
    with pytest.raises(UserError, match="export the task as 'CVAT for video 1.1' and draw tracks"):
        convert_cvat_video(file, tmp_path / "frames")
    file.write_text(CVAT_XML)
    write_pictures(tmp_path / "frames", ["3.jpg"])
    with pytest.raises(UserError, match="the labels use bird; the given categories are cow"):
        convert_cvat_video(file, tmp_path / "frames", categories=["cow"])


# ---------------------------------------------------------------- DAVIS and YouTube-VOS


def palette_png(path: Path, numbers: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(numbers.astype(np.uint8)).convert("P")
    picture.putpalette([value for number in range(256) for value in (number, 255 - number, 40)])
    picture.save(path)


def test_mask_folders(tmp_path: Path) -> None:
    masks, frames = tmp_path / "Annotations/480p", tmp_path / "JPEGImages/480p"
    write_pictures(frames, ["bear/00000.jpg", "bear/00001.jpg"])
    first = rectangle(2, 2, 6, 6) + 2 * rectangle(20, 10, 5, 5) + 255 * rectangle(28, 0, 3, 3)
    palette_png(masks / "bear/00000.png", first)
    palette_png(masks / "bear/00001.png", 2 * rectangle(21, 10, 5, 5))
    content = convert_mask_folders(masks, frames)
    one, two = content["annotations"]
    assert content["categories"] == [{"id": 1, "name": "object"}]
    assert one["bboxes"] == [[2.0, 2.0, 6.0, 6.0], None]
    assert two["bboxes"] == [[20.0, 10.0, 5.0, 5.0], [21.0, 10.0, 5.0, 5.0]]
    assert_reads_back(content, frames, tmp_path)

    meta = tmp_path / "meta.json"
    objects = {"1": {"category": "bear", "frames": ["00000"]}, "2": {"category": "fish", "frames": ["00000", "00001"]}}
    meta.write_text(json.dumps({"videos": {"bear": {"objects": objects}}}))
    named = convert_mask_folders(masks, frames, meta=meta)
    assert [category["name"] for category in named["categories"]] == ["bear", "fish"]
    assert [entry["category_id"] for entry in named["annotations"]] == [1, 2]

    palette_png(masks / "bear/00002.png", first)
    with pytest.raises(UserError, match=r"00002\.png has no frame"):
        convert_mask_folders(masks, frames)


def test_binary_masks_have_one_object(tmp_path: Path) -> None:
    """DAVIS 2016 writes 255 for its one object; DAVIS 2017 for pixels of no object."""
    masks, frames = tmp_path / "masks", tmp_path / "frames"
    write_pictures(frames, ["bear/0.jpg", "bear/1.jpg"])
    palette_png(masks / "bear/0.PNG", 255 * rectangle(2, 2, 6, 6))
    palette_png(masks / "bear/1.PNG", rectangle(0, 0, 0, 0))
    content = convert_mask_folders(masks, frames)
    assert [entry["bboxes"] for entry in content["annotations"]] == [[[2.0, 2.0, 6.0, 6.0], None]]
    assert_reads_back(content, frames, tmp_path)
    meta = tmp_path / "meta.json"
    meta.write_text(json.dumps({"videos": {"bear": {"objects": {"1": {"category": "bear"}}}}}))
    assert convert_mask_folders(masks, frames, meta=meta)["categories"] == [{"id": 1, "name": "bear"}]
    palette_png(masks / "bear/1.PNG", 3 * rectangle(2, 2, 3, 3))
    assert [entry["bboxes"][0] for entry in convert_mask_folders(masks, frames)["annotations"]] == [None]
