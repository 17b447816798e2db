"""Reading of annotation files: every form of mask, labels withheld, and mistakes told in one line."""

from __future__ import annotations

import errno
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mindvideo.data.clips.rules import ConsecutiveFrames
from mindvideo.data.clips.video_dataset import VideoDataset
from mindvideo.data.labels.categories import read_category_file
from mindvideo.data.labels.images import read_category_map, read_image_annotations
from mindvideo.data.labels.reading import read_json
from mindvideo.data.labels.videos import read_video_annotations
from mindvideo.errors import UserError
from mindvideo.masks import runs
from mindvideo.masks import sampling as mask_sampling
from mindvideo.masks.forms import to_rle
from mindvideo.masks.lazy import ClipMasks
from mindvideo.masks.rle import decode_mask, encode_mask, pixel_box

HEIGHT, WIDTH = 12, 20


def square() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[3:9, 4:14] = 1
    return mask


def uncompressed(mask: np.ndarray) -> dict[str, Any]:
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    return {"size": list(mask.shape), "counts": np.diff(np.concatenate([[0], edges])).astype(int).tolist()}


def test_all_forms_of_a_mask_are_equal() -> None:
    forms = [uncompressed(square()), encode_mask(square()), [[4, 3, 14, 3, 14, 9, 4, 9]]]
    forms.append([[4, 3, 10, 3, 10, 9, 4, 9], [8, 3, 14, 3, 14, 9, 8, 9]])  # two overlapping parts
    for form in forms:
        np.testing.assert_array_equal(decode_mask(to_rle(form, HEIGHT, WIDTH)), square())
    assert pixel_box(square()) == [4.0, 3.0, 10.0, 6.0]
    assert not decode_mask(to_rle([], HEIGHT, WIDTH)).any()


@pytest.mark.parametrize(
    "form, reason",
    [
        ([[1, 2, 3, 4]], "a polygon of 4 numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": [7, 7]}, "runs cover 14 pixels"),
        ({"size": [HEIGHT, WIDTH], "counts": 3}, "counts of type int"),
        ("text", "a segmentation of type str"),
        ([[4, 3, 14, 3, float("nan"), 9]], "a polygon .* numbers x, y"),
        ([[4, 3, 14, 3, 1e12, 9]], "a polygon .* in pixels are needed"),
        ([None], "a polygon that is None"),
        ({"size": [HEIGHT, WIDTH], "counts": ["7"]}, "whole numbers are needed"),
        ({"size": [HEIGHT, WIDTH], "counts": [0.5, HEIGHT * WIDTH - 0.5]}, "no whole numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": [-1, HEIGHT * WIDTH + 1]}, "an RLE run of -1 pixels"),
        ({"size": ["12", 20], "counts": "a"}, "RLE size"),
    ],
)
def test_bad_masks_say_why(form: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        to_rle(form, HEIGHT, WIDTH)


def content(**changes: Any) -> dict[str, Any]:
    video = {"id": 3, "height": HEIGHT, "width": WIDTH, "length": 2, "file_names": ["a/0.jpg", "a/1.jpg"]}
    track = {
        "id": 1,
        "video_id": 3,
        "category_id": 2,
        "iscrowd": 0,
        "bboxes": [[4, 3, 10, 6], None],
        "segmentations": [uncompressed(square()), None],
    }
    categories = [{"id": 2, "name": "fish"}]
    return {"videos": [video], "annotations": [{**track, **changes}], "categories": categories}


def write(tmp_path: Path, made: dict[str, Any]) -> Path:
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps(made))
    return file


def test_read(tmp_path: Path) -> None:
    annotations = read_video_annotations(write(tmp_path, content()))
    (video,) = annotations.videos
    (track,) = video.tracks
    assert (video.length, track.boxes[1], annotations.category_names) == (2, None, {2: "fish"})
    np.testing.assert_array_equal(coco_mask.decode(track.masks[0]), square())


def test_labels_withheld(tmp_path: Path) -> None:
    file = write(tmp_path, {**content(), "annotations": None})
    annotations = read_video_annotations(file)
    assert not annotations.has_labels and annotations.videos[0].tracks == ()
    with pytest.raises(UserError, match="has no annotations.*nothing can be learned"):
        VideoDataset(annotation_file=file, frame_folder=tmp_path, clip_rule=ConsecutiveFrames(num_frames=2))


@pytest.mark.parametrize(
    "changes, reason",
    [
        (
            {"bboxes": [None]},
            "annotation 1: 1 boxes and 2 masks for a video of 2 frames; .*prepare.py check FILE@FRAMES",
        ),
        ({"segmentations": [[[1, 2]], None]}, "annotation 1, frame 0: a polygon of 2 numbers"),
        (
            {"segmentations": [uncompressed(square()[:5]), None]},
            r"annotation 1, frame 0: mask size \[5, 20\], frame size \[12, 20\]",
        ),
        ({"video_id": 9}, "annotation 1: it is of video 9, which is not listed"),
    ],
)
def test_unusable_files_are_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        read_video_annotations(write(tmp_path, content(**changes)))


@pytest.fixture(params=["compiled", "pycocotools"])
def mask_decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "pycocotools":
        monkeypatch.setattr(mask_sampling, "native_sampling", lambda: None)
    elif mask_sampling.native_sampling() is None:
        pytest.skip("the compiled library is not built")
    return request.param


def test_masks_of_a_clip_follow_flip_crop_and_resize(mask_decoder: str) -> None:
    """The choice of rows and columns equals doing the steps on the pixels one after the other."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 2, (2, 3, HEIGHT, WIDTH)).astype(np.uint8)
    runs = [[to_rle(encode_mask(mask), HEIGHT, WIDTH) for mask in track] for track in pixels]
    runs[1][2] = None
    pixels[1, 2] = 0
    for masks in (ClipMasks(runs, 3, (HEIGHT, WIDTH)), ClipMasks.of_pixels(pixels)):
        masks.mirror()
        masks.resize(24, 30)
        masks.crop(2, 5, 16, 20)
        masks.reverse()
        masks.keep(np.array([1, 0]))
        expected = pixels[..., ::-1][:, :, np.arange(24) // 2][..., np.arange(30) * 2 // 3]
        expected = expected[:, ::-1, 2:18, 5:25][::-1]
        np.testing.assert_array_equal(masks.pixels(), expected)


def test_damaged_runs_are_not_read_beyond() -> None:
    if mask_sampling.native_sampling() is None:
        pytest.skip("the compiled library is not built")
    rle = to_rle(encode_mask(square()), HEIGHT, WIDTH)
    rows, columns, result = np.arange(HEIGHT), np.arange(WIDTH), np.zeros((HEIGHT, WIDTH), np.uint8)
    for counts in (rle["counts"][:-2], rle["counts"] + b"9", b"\x7f\x01"):
        with pytest.raises(ValueError, match="do not cover its 12 x 20 pixels"):
            mask_sampling.sample_mask({**rle, "counts": counts}, rows, columns, result)


@pytest.fixture(params=["compiled", "numpy"])
def run_reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "numpy":
        monkeypatch.setattr(runs, "native_sampling", lambda: None)
    elif mask_sampling.native_sampling() is None:
        pytest.skip("the compiled library is not built")


def test_whole_texts_are_told_from_damaged_ones(run_reader: None) -> None:
    rng = np.random.default_rng(0)
    for density in (0.0, 0.001, 0.1, 0.5, 1.0):
        height, width = (int(side) for side in rng.integers(1, 400, 2))
        text = coco_mask.encode(np.asfortranarray(rng.random((height, width)) < density, np.uint8))["counts"]
        assert runs.string_fault(text, height, width) is None
        assert runs.decode_runs(text).sum() == height * width
        for damaged in (
            text[:-1],
            text + b"1",
            text * 3,
            text + b"o",
            b"",
            b"z" + text,
            b"o" * 9 + text,
            text + b"\xff",
        ):
            assert runs.string_fault(damaged, height, width), damaged
    assert "RLE run of -5 pixels" in runs.string_fault(b"K", 3, 5)
    assert "cut short" in runs.string_fault(b"1o", 3, 5)


@pytest.mark.parametrize("characters, is_fine", [(2, True), (8, True), (12, True), (13, False), (30, False)])
def test_runs_written_longer_than_need_be(run_reader: None, characters: int, is_fine: bool) -> None:
    """15 pixels, the value filled up with zeros; every decoder takes as many characters."""
    text = b"_" + b"P" * (characters - 2) + b"0"
    assert (runs.string_fault(text, 3, 5) is None) == is_fine
    assert runs.first_broken([b"?0", b"", text], 15) == (None if is_fine else 2)


def coco(folder: Path, **changes: Any) -> Path:
    made = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 2, "segmentation": encode_mask(square())}],
        "categories": [{"id": 2, "name": "fish"}],
    }
    for key, change in changes.items():
        made[key] = [change(made[key][0])]
    return write(folder, made)


def without(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda entry: {name: value for name, value in entry.items() if name != key}


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"images": without("file_name")}, "image 7: no file_name; .*prepare.py check FILE@FRAMES"),
        ({"images": without("height")}, "image 7: no height"),
        ({"images": without("id")}, r"images\[0\]: no id"),
        ({"images": lambda _: "x"}, r"images\[0\]: 'x'; an object"),
        ({"annotations": without("image_id")}, "annotation 1: no image_id"),
        ({"annotations": without("category_id")}, "annotation 1: no category_id"),
        ({"annotations": lambda _: "x"}, r"annotations\[0\]: 'x'; an object"),
        (
            {"annotations": lambda entry: {**entry, "image_id": 8}},
            "annotation 1: it is of image 8, which is not listed",
        ),
        (
            {"annotations": lambda entry: {**entry, "segmentation": {"size": [HEIGHT, WIDTH], "counts": "zz"}}},
            "annotation 1: RLE counts with 'z'",
        ),
        (
            {"annotations": lambda entry: {**entry, "segmentation": encode_mask(square().T)}},
            r"annotation 1: mask size \[20, 12\], frame size \[12, 20\]",
        ),
        ({"categories": without("name")}, "category 2: no name"),
    ],
)
def test_unusable_image_sets_are_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    assert len(read_image_annotations(coco(tmp_path))[0]) == 1
    with pytest.raises(UserError, match=reason):
        read_image_annotations(coco(tmp_path, **changes))


def test_a_category_map_without_the_version(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no map 'corrected'"):
        read_category_map(write(tmp_path, {"published": {}}), "corrected")


def test_files_that_are_no_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="is a folder; a JSON file is needed"):
        read_json(tmp_path)
    file = tmp_path / "a.json"
    file.write_bytes('{"name": "é"}'.encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8 text .at byte 10."):
        read_json(file)
    file.write_text("[" * 200_000)
    with pytest.raises(UserError, match="not valid JSON"):
        read_json(file)

    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # root may read everything, whatever the file's mode
    with pytest.raises(UserError, match="cannot be read .*Permission denied"):
        read_json(file)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"name": "é"}', encoding="utf-8-sig")
    assert read_json(tmp_path / "a.json") == {"name": "é"}


def test_compressed_files(tmp_path: Path) -> None:
    file = tmp_path / "a.json.gz"
    whole = gzip.compress(b'{"videos": []}')
    file.write_bytes(whole)
    assert read_json(file) == {"videos": []}
    for damaged in (whole[:-9], b"{}", whole[:12] + b"\xff" * 8 + whole[20:]):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="a.json.gz: cannot be read"):
            read_json(file)


def test_files_of_categories(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    listed = [{"id": 3, "name": "fish"}]
    for made in (listed, {"categories": listed}):
        file.write_text(json.dumps(made))
        assert [(category.id, category.name) for category in read_category_file(file)] == [(3, "fish")]
    file.write_text("{}")
    assert read_category_file(file) == ()


@pytest.mark.parametrize(
    "made, reason",
    [
        (7, "neither an annotation file nor a list of categories"),
        (["fish"], r"categories\[0\]: 'fish'; an object with id, name is needed"),
        ({"categories": [{"id": 3}]}, "category 3: no name"),
        ({"categories": {"3": "fish"}}, "categories: {'3': 'fish'}; a list is needed"),
    ],
)
def test_unusable_files_of_categories(tmp_path: Path, made: Any, reason: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(made))
    with pytest.raises(UserError, match=reason) as caught:
        read_category_file(file)
    assert str(caught.value).startswith(f"{file}: ") and "\n" not in str(caught.value)
