"""Label Studio's own files, read as labels, and the faults in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mindvideo.cli.prepare import main
from mindvideo.data.importers.label_studio import convert_label_studio
from mindvideo.errors import UserError
from tests.data.cvat_clip import SIZE as CLIP_SIZE
from tests.data.cvat_clip import write_clip

SIZE = (45, 61)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    for video in ("walk", "run"):
        (folder / video).mkdir(parents=True)
        for frame in range(3):
            Image.new("RGB", SIZE[::-1]).save(folder / video / f"{frame:03d}.png")
    return folder


def region(name: str, kind: str, **value: Any) -> dict[str, Any]:
    facts = {"original_width": SIZE[1], "original_height": SIZE[0], "image_rotation": 0}
    return {"id": name, "type": kind, "from_name": "label", "to_name": "image", **facts, "value": value}


def share(x: float, y: float) -> list[float]:
    """A point in pixels, in hundredths of the sides."""
    return [100 * x / SIZE[1], 100 * y / SIZE[0]]


def task(image: str, *results: dict[str, Any]) -> dict[str, Any]:
    return {"data": {"image": image}, "annotations": [{"result": list(results)}]}


def studio_file(folder: Path, tasks: Any) -> Path:
    path = folder / "studio.json"
    path.write_text(json.dumps(tasks))
    return path


def prepare(monkeypatch, *words: str | Path) -> None:
    monkeypatch.setattr("sys.argv", ["mindvideo prepare", *map(str, words)])
    main()


def test_regions_of_every_kind(frames):
    x, y = share(10, 20)
    width, height = share(8, 6)
    note = {"meta": {"text": ["track 7"]}}
    first = [
        region("a", "rectanglelabels", x=x, y=y, width=width, height=height, rotation=0, rectanglelabels=["dog"])
        | note,
        region("b", "polygonlabels", points=[share(30, 5), share(50, 5), share(50, 15)], polygonlabels=["cat"]),
        region("c", "ellipse", x=x, y=y, radiusX=width, radiusY=height, rotation=90),
        region("c", "labels", x=x, y=y, labels=["dog"]),
        region("c", "number", number=9),
        region("d", "choices", choices=["sunny"]),
    ]
    turned = region("e", "rectanglelabels", x=x, y=y, width=width, height=height, rotation=90, rectanglelabels=["dog"])
    second = [turned, region("e", "number", number=7)]
    tasks = [
        {"id": 5, "data": {"image": "/data/upload/1/0a1b2c3d-w001.png"}, "annotations": [{"result": second}]},
        {
            "id": 4,
            "data": {"image": "/data/upload/1/9a1b2c3d-w000.png"},
            "annotations": [{"result": []}, {"result": first}, {"result": [], "was_cancelled": True}],
            "predictions": [{"result": second}],
        },
        {"id": 6, "data": {"image": "/data/upload/1/9a1b2c3e-w002.png"}, "annotations": []},
    ]
    for frame in range(3):
        (frames / f"walk/{frame:03d}.png").rename(frames / f"walk/w{frame:03d}.png")
    content = convert_label_studio(studio_file(frames.parent, tasks), frames)
    assert content["videos"][0]["file_names"] == ["walk/w000.png", "walk/w001.png"]  # nobody labelled the third
    assert [entry["name"] for entry in content["categories"]] == ["cat", "dog"]
    boxes = {
        (entry["category_id"], tuple(map(bool, entry["bboxes"]))): entry["bboxes"] for entry in content["annotations"]
    }
    assert boxes[2, (True, True)] == [[10, 20, 8, 6], [4, 20, 6, 8]]  # a quarter turn about its corner, clockwise
    assert boxes[1, (True, False)][0][0] >= 30 and len(content["annotations"]) == 3
    x0, _, across, along = boxes[2, (True, False)][0]  # the ellipse's left half lies in the picture's
    assert abs(across - 12) <= 1 and abs(along - 16) <= 1 and x0 + across / 2 == pytest.approx(10, abs=1)


def test_predictions_are_read_where_nobody_labelled(frames):
    """Results that were never opened in the tool."""
    box = region("a", "rectanglelabels", x=0, y=0, width=50, height=50, rotation=0, rectanglelabels=["dog"])
    tasks = [{"data": {"image": "walk/000.png"}, "predictions": [{"result": [box]}]}]
    content = convert_label_studio(studio_file(frames.parent, tasks), frames)
    assert len(content["annotations"]) == 1


def test_boxes_of_a_video(tmp_path):
    write_clip(tmp_path, num_frames=8)
    H, W = CLIP_SIZE
    keys = [
        {"frame": 1, "enabled": True, "x": 0, "y": 0, "width": 10, "height": 10, "rotation": 0, "time": 0},
        {"frame": 3, "enabled": False, "x": 20, "y": 0, "width": 10, "height": 10, "rotation": 0, "time": 1},
        {"frame": 7, "enabled": True, "x": 50, "y": 50, "width": 20, "height": 20, "rotation": 0, "time": 2},
    ]
    result = {"type": "videorectangle", "id": "q", "value": {"framesCount": 8, "sequence": keys, "labels": ["van"]}}
    tasks = [{"data": {"video": "/data/local-files/?d=somewhere/clip.mp4"}, "annotations": [{"result": [result]}]}]
    content = convert_label_studio(studio_file(tmp_path, tasks), tmp_path)
    assert content["videos"][0]["file_names"][7] == "clip.mp4#7"
    boxes = content["annotations"][0]["bboxes"]
    assert [box is None for box in boxes] == [False] * 3 + [True] * 3 + [False] * 2
    assert [box[0] / W for box in boxes[:3]] == [0, 0.1, 0.2] and boxes[7] == [W / 2, H / 2, W / 5, H / 5]


def test_key_frames_come_back(tmp_path, monkeypatch):
    """Boxes of the labels of a video file: few key frames, and the same boxes within the tolerance."""
    write_clip(tmp_path, num_frames=12)
    prepare(monkeypatch, "convert", "cvat", tmp_path / "annotations.xml", "--video", tmp_path / "clip.mp4", "--output",
            tmp_path / "my.json")  # fmt: skip
    prepare(monkeypatch, "export", "labelstudio", f"{tmp_path / 'my.json'}@{tmp_path}", "--output", tmp_path / "out")
    file = tmp_path / "out" / "clip" / "label_studio" / "tasks_boxes.json"
    sequences = [result["value"]["sequence"] for result in json.loads(file.read_text())[0]["annotations"][0]["result"]]
    assert all(2 <= len(sequence) <= 12 for sequence in sequences) and any(len(found) < 12 for found in sequences)
    before = json.loads((tmp_path / "my.json").read_text())["annotations"]
    names = {1: "dog", 2: "van"}
    after = {entry["category_id"]: entry["bboxes"] for entry in convert_label_studio(file, tmp_path)["annotations"]}
    assert sorted(after) == sorted(names)
    for entry in before:
        assert np.abs(np.array(entry["bboxes"]) - np.array(after[entry["category_id"]])).max() <= 2


BOX = {"rectanglelabels": ["dog"], "x": 1, "y": 1, "width": 9, "height": 9}


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ({"images": []}, "no list of tasks"),
        ([{"image": "a.png", "label": []}], "JSON-MIN lacks"),
        ([{"data": {"text": "x"}, "annotations": []}], "neither 'image' nor 'video'"),
        ([task("/x/none.png")], "has no file 'none.png'"),
        ([task("/x/000.png")], "may be .*give the folder"),
        ([task("/walk/000.png"), task("/walk/000.png")], "are both of"),
        ([task("/walk/000.png", region("r", "brushlabels"))], "region 'r' has no label"),
        (
            [task("/walk/000.png", region("r", "brushlabels", brushlabels=["dog"], format="rle", rle=[0, 0, 0, 9]))],
            "region 'r', 'dog': its 'rle'",
        ),
        (
            [task("/walk/000.png", *(region(name, "rectanglelabels", **BOX) for name in "ab"))],
            "two regions 'dog' without a number",
        ),
        (
            [task("/walk/000.png", region("r", "rectanglelabels", **{**BOX, "x": "1"}))],
            "'x' is '1'; a number from",
        ),
        ([task("/walk/000.png", region("r", "rectanglelabels", **BOX) | {"original_width": 9})], "label and train"),
        ([task("/walk/000.png", region("r", "rectanglelabels", **BOX) | {"image_rotation": 90})], "turned in Label"),
    ],
)
def test_mistakes_are_named(frames, tasks, words):
    with pytest.raises(UserError, match=words) as caught:
        convert_label_studio(studio_file(frames.parent, tasks), frames)
    assert "\n" not in str(caught.value)
