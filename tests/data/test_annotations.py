"""Reading of annotation files: every form of mask, labels withheld, and mistakes told in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mindvideo.data import mask_sampling
from mindvideo.data.annotations import read_video_annotations
from mindvideo.data.clip_masks import ClipMasks
from mindvideo.data.clip_rules import ConsecutiveFrames
from mindvideo.data.segmentation import decode_mask, encode_mask, mask_box, to_rle
from mindvideo.data.video_dataset import VideoDataset
from mindvideo.errors import UserError

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
    assert mask_box(square()) == [4.0, 3.0, 10.0, 6.0]
    assert not decode_mask(to_rle([], HEIGHT, WIDTH)).any()


@pytest.mark.parametrize(
    "form, reason",
    [
        ([[1, 2, 3, 4]], "a polygon of 4 numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": [7, 7]}, "runs cover 14 pixels"),
        ({"size": [HEIGHT, WIDTH], "counts": 3}, "counts of type int"),
        ("text", "a segmentation of type str"),
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
