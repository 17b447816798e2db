"""Labels and results go out to other tools, and come back through the readers of their formats with the same masks."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from mindvideo.cli.prepare import main
from mindvideo.data.exporters.outlines import mask_outline
from mindvideo.data.importers.coco_video import convert_coco_video
from mindvideo.data.importers.cvat import convert_cvat_video
from mindvideo.data.importers.labelme import convert_labelme
from mindvideo.data.importers.shapes import polygon_mask
from mindvideo.errors import UserError
from mindvideo.masks.packed_runs import pack_mask, unpack_mask
from mindvideo.masks.rle import decode_mask, encode_mask, mask_area, mask_box

SIZE = (45, 61)  # odd sides
T = 5
NAMES = ["dog", 'cat & "co" <b>']


def ring_mask(x: int, y: int) -> np.ndarray:
    """A disc with a hole, and a speck beside it."""
    mask = np.zeros(SIZE, np.uint8)
    cv2.circle(mask, (x, y), 10, 1, -1)
    cv2.circle(mask, (x, y), 4, 0, -1)
    mask[1:3, 1:4] = 1
    return mask


def star_mask(x: int, y: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    turn = np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2, 5, 12)
    points = np.stack([x + radii * np.cos(turn), y + radii * np.sin(turn)], 1)
    cv2.fillPoly(mask, [points.round().astype(np.int32)], 1)
    return mask


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """``my.json`` with two videos of pictures: a track that leaves and comes back, and one with holes and parts."""
    videos, annotations = [], []
    for video, folder in enumerate(("walk", "run"), start=1):
        names = [f"{folder}/{frame:03d}.png" for frame in range(T)]
        (tmp_path / "frames" / folder).mkdir(parents=True)
        for frame, name in enumerate(names):
            noise = np.random.default_rng(frame).integers(0, 255, (*SIZE, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / "frames" / name)
        videos.append({"id": video, "height": SIZE[0], "width": SIZE[1], "length": T, "file_names": names})
        stars = [star_mask(30 + 2 * frame, 20) if frame not in (2, 3) else None for frame in range(T)]
        rings = [ring_mask(20 + frame, 25 + video) for frame in range(T)]
        for masks, category in ((stars, 1), (rings, 2)):
            rles = [None if mask is None else encode_mask(mask) for mask in masks]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "video_id": video,
                    "category_id": category,
                    "iscrowd": 0,
                    "segmentations": rles,
                    "bboxes": [None if rle is None else mask_box(rle) for rle in rles],
                    "areas": [None if rle is None else mask_area(rle) for rle in rles],
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES, start=1)]
    content = {"videos": videos, "annotations": annotations, "categories": categories}
    (tmp_path / "my.json").write_text(json.dumps(content))
    return tmp_path


def prepare(monkeypatch, *words: str | Path) -> None:
    monkeypatch.setattr("sys.argv", ["mindvideo prepare", *map(str, words)])
    main()


def masks_of(content: dict[str, Any], video: int = 0) -> dict[str, list[np.ndarray | None]]:
    """Masks by the name of the category."""
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    number = content["videos"][video]["id"]
    return {
        names[entry["category_id"]]: [None if rle is None else decode_mask(rle) for rle in entry["segmentations"]]
        for entry in content["annotations"]
        if entry["video_id"] == number
    }


def min_overlap(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The least intersection over union of two sets of tracks that are seen in the same frames."""
    assert set(one) == set(other)
    overlaps = []
    for name, masks in one.items():
        assert [mask is None for mask in masks] == [mask is None for mask in other[name]], name
        for mask, found in zip(masks, other[name]):
            if mask is not None:
                overlaps.append((mask & found).sum() / (mask | found).sum())
    return min(overlaps)


@pytest.mark.parametrize("tolerance", [0, 1])
def test_cvat(labels, monkeypatch, tolerance):
    given = json.loads((labels / "my.json").read_text())
    prepare(monkeypatch, "export", "cvat", labels / "my.json", "--output", labels / "out", "--tolerance", tolerance)
    for video, name in enumerate(("walk", "run")):
        content = convert_cvat_video(labels / "out" / name / "cvat.xml", labels / "frames" / name)
        overlap = min_overlap(masks_of(given, video), masks_of(content))
        assert overlap == 1 if tolerance == 0 else overlap > 0.85
    track = ElementTree.parse(labels / "out" / "walk" / "cvat.xml").getroot().find("track")
    shapes = [(shape.get("frame"), shape.get("outside")) for shape in track]
    assert shapes == [("0", "0"), ("1", "0"), ("2", "1"), ("4", "0")]


@settings(max_examples=60, deadline=None)
@given(arrays(bool, (7, 9), elements=st.booleans()))
def test_an_outline_fills_to_its_mask(mask):
    if mask.any():
        np.testing.assert_array_equal(polygon_mask(mask_outline(encode_mask(mask), 0), mask.shape), mask)


@pytest.mark.parametrize("tolerance", [0, 1])
def test_labelme(labels, monkeypatch, tolerance):
    given = json.loads((labels / "my.json").read_text())
    source = f"{labels / 'my.json'}@{labels / 'frames'}"
    prepare(monkeypatch, "export", "labelme", source, "--output", labels / "out", "--tolerance", tolerance)
    content = convert_labelme(labels / "out")
    assert [video["file_names"][0] for video in content["videos"]] == ["run/labelme/000.png", "walk/labelme/000.png"]
    for video, place in ((0, 1), (1, 0)):
        overlap = min_overlap(masks_of(given, video), masks_of(content, place))
        assert overlap == 1 if tolerance == 0 else overlap > 0.85
    assert (labels / "out/walk/labelme/003.png").read_bytes() == (labels / "frames/walk/003.png").read_bytes()
    shapes = json.loads((labels / "out/walk/labelme/000.json").read_text())["shapes"]
    kinds = [(shape["label"], shape["group_id"], shape["shape_type"]) for shape in shapes]
    assert kinds == [("dog", 1, "mask" if tolerance == 0 else "polygon"), (NAMES[1], 2, "mask")]  # holes are masks


def test_label_studio(labels, monkeypatch):
    given = json.loads((labels / "my.json").read_text())
    source = f"{labels / 'my.json'}@{labels / 'frames'}"
    prepare(monkeypatch, "export", "labelstudio", source, "--output", labels / "out")
    tasks = [json.loads((labels / f"out/{name}/label_studio/tasks.json").read_text()) for name in ("walk", "run")]
    assert tasks[0][3]["data"]["image"] == "/data/local-files/?d=walk/label_studio/003.png"
    (labels / "export.json").write_text(json.dumps(tasks[0] + tasks[1]))
    prepare(monkeypatch, "convert", "labelstudio", labels / "export.json", "--frames", labels / "out", "--output",
            labels / "back.json")  # fmt: skip
    content = json.loads((labels / "back.json").read_text())
    for video in range(2):
        assert min_overlap(masks_of(given, video), masks_of(content, video)) == 1
    interface = ElementTree.parse(labels / "out/walk/label_studio/interface.xml").getroot()
    assert [label.get("value") for label in interface.iter("Label")] == NAMES


def test_coco_and_csv(labels, monkeypatch, tmp_path):
    given = json.loads((labels / "my.json").read_text())
    prepare(monkeypatch, "export", "coco", labels / "my.json", "--output", labels / "coco")
    content = convert_coco_video(labels / "coco" / "coco.json")
    for video in range(2):
        assert min_overlap(masks_of(given, video), masks_of(content, video)) == 1
    prepare(monkeypatch, "export", "csv", labels / "my.json", "--output", labels / "csv")
    with open(labels / "csv" / "objects.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    entries = given["annotations"]
    assert len(rows) == sum(rle is not None for entry in entries for rle in entry["segmentations"])
    first = entries[0]
    assert rows[0] == {
        **{"video": "walk", "frame": "0", "file_name": "walk/000.png", "track": "1", "class_id": "1", "class": "dog"},
        **{"score": "", "area": str(first["areas"][0])},
        **{key: f"{side:.0f}" for key, side in zip(("x", "y", "width", "height"), first["bboxes"][0])},
    }


def test_results_of_a_set(labels, monkeypatch, capsys):
    """Weak tracks are left out; cut-outs have the colours of the frame."""
    given = json.loads((labels / "my.json").read_text())
    records = [
        {"video_id": entry["video_id"], "category_id": entry["category_id"], "score": 1 / entry["id"],
         "segmentations": entry["segmentations"]}
        for entry in given["annotations"]
    ]  # fmt: skip
    (labels / "results.json").write_text(json.dumps(records))
    source = f"{labels / 'my.json'}@{labels / 'frames'}"
    words = (source, "--results", labels / "results.json", "--min-score", "0.4")
    prepare(monkeypatch, "export", "cutouts", *words, "--output", labels / "out")
    assert "2 videos, 2 tracks" in capsys.readouterr().out
    assert sorted(path.name for path in (labels / "out" / "walk" / "cutouts").iterdir()) == ["track_001", "track_002"]
    with Image.open(labels / "out/walk/cutouts/track_002/000001.png") as picture:
        cut = np.array(picture)
    frame = np.array(Image.open(labels / "frames/walk/001.png"))
    mask = ring_mask(21, 26)
    x, y, width, height = (int(side) for side in mask_box(encode_mask(mask)))
    np.testing.assert_array_equal(cut[..., 3] > 0, mask[y : y + height, x : x + width] > 0)
    np.testing.assert_array_equal(cut[..., :3], frame[y : y + height, x : x + width])
    (labels / "results.json").write_text("[]")
    with pytest.raises(UserError, match="nothing scores 0.4"):
        prepare(monkeypatch, "export", "csv", *words, "--output", labels / "none")
    assert not (labels / "none").exists()


@pytest.mark.parametrize(
    ("kind", "decoder", "name"), [("cutout_webm", "libvpx-vp9", "webm"), ("cutout_mov", "", "mov")]
)
def test_transparent_videos(labels, monkeypatch, kind, decoder, name):
    source = f"{labels / 'my.json'}@{labels / 'frames'}"
    prepare(monkeypatch, "export", kind, source, "--output", labels / "out", "--frames-per-second", "12")
    expected = np.maximum(ring_mask(20, 26), star_mask(30, 20))
    with av.open(str(labels / "out" / "walk" / f"cutouts.{name}")) as container:
        stream = container.streams.video[0]
        assert float(stream.average_rate) == 12
        context = av.CodecContext.create(decoder, "r") if decoder else stream.codec_context
        frames = [
            frame.to_ndarray(format="rgba") for packet in container.demux(stream) for frame in context.decode(packet)
        ]
    assert len(frames) == T
    opacity = frames[0][: SIZE[0], : SIZE[1], 3]
    assert np.abs(opacity / 255 - expected).mean() < 0.02
    far = cv2.dilate(expected, np.ones((25, 25))) == 0
    assert frames[0][: SIZE[0], : SIZE[1], :3][far].max() < 40  # nothing of the background


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 40)), elements=st.booleans()))
def test_packed_runs_come_back(mask):
    np.testing.assert_array_equal(unpack_mask(pack_mask(mask), mask.shape), mask)


def test_packed_runs_of_the_original_encoder():
    """Bytes as Label Studio's own encoder gives them for a mask of 2 x 3 pixels: single values as well."""
    mask = np.array([[0, 1, 1], [1, 0, 0]], bool)
    by_hand = "".join(
        [f"{24:032b}", f"{7:05b}", "0010", "0011", "0111", "1111"]
        + ["1" + "00" + "011" + "00000000"]  # four zeros
        + ["1" + "01" + "1011" + "11111111"]  # twelve of 255
        + ["0" + "00" + "001" + "00000000" * 2]  # two values, each by itself
        + ["1" + "00" + "101" + "00000000"]  # six zeros
    )
    # These bytes its encoder gave for a mask of 3 x 3 (label-studio-converter 0.0.59).
    theirs = [0, 0, 0, 36, 57, 27, 252, 96, 22, 255, 239, 128, 71, 254]
    np.testing.assert_array_equal(unpack_mask(theirs, (3, 3)), [[0, 1, 1], [1, 0, 0], [0, 0, 1]])
    assert pack_mask(np.array([[0, 1, 1], [1, 0, 0], [0, 0, 1]], bool)) == theirs
    by_hand += "0" * (-len(by_hand) % 8)
    packed = [int(by_hand[place : place + 8], 2) for place in range(0, len(by_hand), 8)]
    np.testing.assert_array_equal(unpack_mask(packed, (2, 3)), mask)


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        ([1, 2, 300], "list of bytes"),
        ("AAAA", "list of bytes"),
        ([], "cut short"),
        (pack_mask(np.ones((4, 4), bool)), "64 values; a mask of 3 x 4 pixels has 48"),
        (pack_mask(np.eye(3, 4, dtype=bool))[:-4], "cut short"),
    ],
)
def test_damaged_packed_runs(packed, words):
    with pytest.raises(ValueError, match=words):
        unpack_mask(packed, (3, 4))


def test_an_export_replaces_no_input(labels, monkeypatch):
    source = f"{labels / 'my.json'}@{labels / 'frames'}"
    for output, words in ((labels, "input of this very command"), (labels / "my.json", "is a file")):
        with pytest.raises(UserError, match=words):
            prepare(monkeypatch, "export", "csv", source, "--output", output, "--overwrite")
    content = json.loads((labels / "my.json").read_text())
    nothing = {"id": 1, "height": 4, "width": 4, "length": 0, "file_names": []}
    (labels / "empty.json").write_text(json.dumps({**content, "videos": [nothing], "annotations": []}))
    with pytest.raises(UserError, match="video 1 has no frames"):
        prepare(monkeypatch, "export", "cvat", labels / "empty.json", "--output", labels / "out")
    with pytest.raises(UserError, match="needs the frames"):
        prepare(monkeypatch, "export", "labelme", labels / "my.json", "--output", labels / "out")
    assert (labels / "my.json").is_file() and (labels / "frames" / "walk" / "000.png").is_file()


def test_a_name_is_no_formula_and_no_markup(labels, monkeypatch):
    """Names of classes come from strangers."""
    content = json.loads((labels / "my.json").read_text())
    content["categories"][0]["name"] = '=HYPERLINK("x")\x01</label>'
    (labels / "my.json").write_text(json.dumps(content))
    prepare(monkeypatch, "export", "csv", labels / "my.json", "--output", labels / "csv")
    with open(labels / "csv" / "objects.csv", newline="") as stream:
        assert next(csv.DictReader(stream))["class"] == '\'=HYPERLINK("x")\x01</label>'
    prepare(monkeypatch, "export", "cvat", labels / "my.json", "--output", labels / "cvat")
    root = ElementTree.parse(labels / "cvat" / "walk" / "cvat.xml").getroot()
    assert root.find("meta/task/labels/label/name").text == content["categories"][0]["name"].replace("\x01", "?")
