"""Label files that are damaged, or that hold values of any kind in any place: one line, or a list of problems."""

from __future__ import annotations

import copy
import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mindvideo.data.importers.coco_video import convert_coco_video
from mindvideo.data.importers.cvat import convert_cvat_video
from mindvideo.data.importers.labelme import convert_labelme
from mindvideo.data.importers.mask_folders import convert_mask_folders
from mindvideo.data.labels.catalogue import Catalogue
from mindvideo.data.labels.categories import read_category_file
from mindvideo.data.labels.check import check_video_set
from mindvideo.data.labels.check_images import check_image_set
from mindvideo.data.labels.images import read_category_map, read_image_annotations
from mindvideo.data.labels.keep_list import keep_categories
from mindvideo.data.labels.reading import read_json
from mindvideo.data.labels.split import split_annotations
from mindvideo.data.labels.videos import read_video_annotations
from mindvideo.data.media.broken_frame import BrokenFrameError
from mindvideo.data.media.frame_reader import FrameReader
from mindvideo.errors import UserError
from mindvideo.masks.rle import encode_mask

HEIGHT, WIDTH = 6, 8
MASK = encode_mask(np.indices((HEIGHT, WIDTH)).sum(0) % 2 == 0)
CATEGORIES = [{"id": 1, "name": "cow"}, {"id": 2, "name": "bird"}]
VIDEOS = {
    "videos": [
        {"id": n, "height": HEIGHT, "width": WIDTH, "length": 2, "file_names": [f"v{n}/0.png", f"v{n}/1.png"]}
        for n in (1, 2, 3)
    ],
    "annotations": [
        {
            "id": n,
            "video_id": n,
            "category_id": 1,
            "iscrowd": 0,
            "bboxes": [[0, 0, 8, 6], [0, 0, 8, 6]],
            "segmentations": [MASK, MASK],
            "areas": [24, 24],
        }
        for n in (1, 2, 3)
    ],
    "categories": CATEGORIES,
}
IMAGES = {
    "images": [{"id": 1, "file_name": "v1/0.png", "height": HEIGHT, "width": WIDTH, "video_id": 1, "frame_id": 0}],
    "annotations": [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "instance_id": 4,
            "bbox": [0, 0, 8, 6],
            "segmentation": [[0, 0, 7, 0, 7, 5, 0, 5]],
            "attributes": {"track_id": 4, "rotation": 0.0},
        }
    ],
    "categories": CATEGORIES,
}
LABELME = {
    "imageHeight": HEIGHT,
    "imageWidth": WIDTH,
    "shapes": [{"label": "cow", "group_id": 1, "shape_type": "polygon", "points": [[0, 0], [7, 0], [7, 5]]}],
}
META = {"videos": {f"v{n}": {"objects": {"1": {"category": "cow"}}} for n in (1, 2, 3)}}
MAP = {"published": {"1": 1}, "corrected": {"1": 1}}
CATALOGUE = {"data_root": ".", "sets": {"own": {"kind": "video", "folder": ["a", "b"], "categories": "c.json"}}}
CATALOGUE["sets"]["own"]["splits"] = {"train": {"annotations": ["a.json"], "frames": "f"}}
ODD_VALUES = [None, True, -1, 0, 1.5, float("nan"), float("inf"), 10**400, 2**63, "", "x", "é\n\x1b[31m", [], [1], [[]]]
ODD_VALUES += [
    {},
    {"id": [1]},
    [None],
    ["a", 1],
    {"size": [6, 8], "counts": [48]},
    {"size": [10**9] * 2, "counts": "0"},
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for video in (1, 2, 3):
        for frame in (0, 1):
            for folder in ("frames", "masks", "labelme"):
                file = tmp_path / folder / f"v{video}" / f"{frame}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                mode = (np.uint8, (HEIGHT, WIDTH)) if folder == "masks" else (np.uint8, (HEIGHT, WIDTH, 3))
                Image.fromarray(np.ones(mode[1], mode[0])).save(file)
                if folder == "labelme":
                    file.with_suffix(".json").write_text(json.dumps(LABELME))
    return tmp_path


Reader = Callable[[Path, Path], object]  # takes the file and the folder of `place`


def read_labelme(file: Path, place: Path) -> object:
    (place / "labelme/v1/0.json").write_bytes(file.read_bytes())
    return convert_labelme(place / "labelme")


READERS: dict[str, tuple[Any, Reader]] = {
    "videos": (VIDEOS, lambda file, place: read_video_annotations(file)),
    "check": (VIDEOS, lambda file, place: check_video_set(file, place / "frames", decode=True)),
    "split": (VIDEOS, lambda file, place: split_annotations(file, share=0.3)),
    "split by time": (VIDEOS, lambda file, place: split_annotations(file, share=0.3, by="time")),
    "categories": (VIDEOS, lambda file, place: read_category_file(file)),
    "images": (IMAGES, lambda file, place: read_image_annotations(file)),
    "check of images": (IMAGES, lambda file, place: check_image_set(file, place / "frames", decode=True)),
    "keep": (IMAGES, lambda file, place: keep_categories(file, {1})),
    "coco-video": (IMAGES, lambda file, place: convert_coco_video(file, place / "frames")),
    "labelme": (LABELME, read_labelme),
    "meta": (META, lambda file, place: convert_mask_folders(place / "masks", place / "frames", meta=file)),
    "map": (MAP, lambda file, place: read_category_map(file, "published")),
    "catalogue": (CATALOGUE, lambda file, place: Catalogue(file=file, root=place).find("own/train")),
    "own set": (VIDEOS, lambda file, place: Catalogue().find(f"{file}@{place}/frames")),
}
# Never refused: the file is only looked at, or every part of the content may be anything.
LENIENT = {"own set"}


def one_line(reader: Reader, file: Path, place: Path) -> str:
    """The refusal, or an empty string where the reader took the file."""
    try:
        reader(file, place)
    except UserError as error:
        assert str(error).isprintable() and str(error), repr(str(error))
        return str(error)
    return ""


@pytest.mark.parametrize("name", READERS)
def test_a_sound_file_is_taken(place: Path, name: str) -> None:
    content, reader = READERS[name]
    file = place / "labels.json"
    file.write_text(json.dumps(content))
    assert one_line(reader, file, place) == ""


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "deep lists": lambda whole: b"[" * 200_000,
    "deep objects": lambda whole: b'{"videos":' * 100_000,
    "a deep list in the right place": lambda whole: whole[:-1] + b', "info": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "something after the end": lambda whole: whole + b" and more",
    "a second content": lambda whole: whole + b"[]",
    "cut off": lambda whole: whole[: len(whole) // 2],
    "Latin-1": lambda whole: whole.replace(b"cow", "küh".encode("latin-1")).replace(b"a.json", b"\xe9") + b"\xe9",
    "UTF-16": lambda whole: whole.decode().encode("utf-16"),
    "nothing": lambda whole: b"",
    "zeros": lambda whole: b"\0" * 1000,
    "a number of 5000 digits": lambda whole: whole[:-1] + b', "more": ' + b"9" * 5000 + b"}",
    "a zip": lambda whole: zipped(whole),
}


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("labels.json", content)
    return file.getvalue()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", sorted(set(READERS) - LENIENT))
def test_damaged_files_give_one_line(place: Path, name: str, damage: str) -> None:
    content, reader = READERS[name]
    file = place / "labels.json"
    file.write_bytes(DAMAGES[damage](json.dumps(content).encode()))
    assert one_line(reader, file, place).startswith(str(place)), damage


@pytest.mark.parametrize("share", [0.1, 0.6, 0.99])
def test_packed_files_that_were_cut_off_give_one_line(tmp_path: Path, share: float) -> None:
    whole = gzip.compress(json.dumps(VIDEOS).encode())
    file = tmp_path / "labels.json.gz"
    file.write_bytes(whole)
    assert read_json(file) == VIDEOS
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match=r"labels.json.gz: cannot be read \(.+\)$"):
        read_json(file)


def test_the_kind_of_a_packed_set_is_seen(tmp_path: Path) -> None:
    for content, kind in ((VIDEOS, "video"), (IMAGES, "image")):
        file = tmp_path / "labels.json.gz"
        file.write_bytes(gzip.compress(json.dumps(content).encode()))
        assert Catalogue().find(f"{file}@{tmp_path}").kind == kind


def places_in(content: Any, path: tuple = ()) -> list[tuple]:
    """The path of every value in the content."""
    found = [path] if path else []
    if isinstance(content, (dict, list)):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            found += places_in(value, (*path, key))
    return found


def replaced(content: Any, path: tuple, value: Any) -> Any:
    made = copy.deepcopy(content)
    holder = made
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return made


@pytest.mark.parametrize("name", READERS)
def test_any_value_in_any_place_gives_at_most_one_line(place: Path, name: str) -> None:
    """Every place with some of the odd values, the same ones each time."""
    content, reader = READERS[name]
    chooser = random.Random(name)
    file = place / "labels.json"
    refused = 0
    for path in places_in(content):
        for value in chooser.sample(ODD_VALUES, 6):
            file.write_text(json.dumps(replaced(content, path, value)))
            refused += bool(one_line(reader, file, place))
    assert refused or name in LENIENT | {"check", "check of images"}


CVAT = """<annotations><meta><task><original_size><width>8</width><height>6</height></original_size></task></meta>
<track id="0" label="kuh"><box frame="0" outside="0" keyframe="1" xtl="1" ytl="1" xbr="5" ybr="4"/></track>
</annotations>"""


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:100],
        lambda whole: whole + b"<more/>",
        lambda whole: whole.replace(b"kuh", b"k\xfch"),
        lambda whole: whole.replace(b'xtl="1"', b'xtl="nan"'),
        lambda whole: whole.replace(b'xtl="1"', b'xtl="1e300"'),
        lambda whole: whole.replace(b'frame="0"', b'frame="99999999999999999999"'),
        lambda whole: whole.replace(b"<width>8", b"<width>99999999999"),
        lambda whole: b"<a>" * 100_000,
        lambda whole: b'<!DOCTYPE a [<!ENTITY b "c">]>' + whole.replace(b"kuh", b"&unknown;"),
        lambda whole: b'<?xml version="1.0" encoding="none-such"?>' + whole,
        lambda whole: b"",
    ],
)
def test_damaged_cvat_files_give_one_line(place: Path, damage: Callable[[bytes], bytes]) -> None:
    file = place / "labels.xml"

    def convert(file: Path, place: Path) -> object:
        return convert_cvat_video(file, place / "frames/v1")

    file.write_text(CVAT)
    assert one_line(convert, file, place) == ""
    file.write_bytes(damage(CVAT.encode()))
    assert str(file) in one_line(convert, file, place)


@pytest.mark.parametrize(
    "name", ["a\0b.png", "x" * 5000 + ".png", "v1", "../../none.png", "a\0.mp4#1", "x.mp4#" + "9" * 30]
)
def test_names_of_frames_that_no_file_can_have(place: Path, name: str) -> None:
    with pytest.raises(BrokenFrameError):
        FrameReader(folder=place / "frames").read(name)
    content = replaced(VIDEOS, ("videos", 0, "file_names", 0), name)
    (place / "labels.json").write_text(json.dumps(content))
    assert any(problem.is_error for problem in check_video_set(place / "labels.json", place / "frames", decode=True))
