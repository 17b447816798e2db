"""Splits by time, and the sets that cannot be split by videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mindvideo.cli import prepare
from mindvideo.data.clips.rules import ConsecutiveFrames
from mindvideo.data.clips.video_dataset import VideoDataset
from mindvideo.data.labels.check import check_video_set
from mindvideo.data.labels.images import read_image_annotations
from mindvideo.data.labels.keep_list import keep_categories
from mindvideo.data.labels.split import split_annotations
from mindvideo.data.labels.videos import read_video_annotations
from mindvideo.errors import UserError
from mindvideo.masks.rle import encode_mask

HEIGHT, WIDTH, LENGTH = 8, 10, 10


def made_track(number: int, video: int, category: int, frames: range) -> dict[str, Any]:
    """A 4 x 3 object that is present in ``frames`` of a video of 10; its area counts the frames from 1."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[2:5, 1:5] = 1
    return {
        "id": number,
        "video_id": video,
        "category_id": category,
        "iscrowd": 0,
        "bboxes": [[1, 2, 4, 3] if t in frames else None for t in range(LENGTH)],
        "segmentations": [encode_mask(mask) if t in frames else None for t in range(LENGTH)],
        "areas": [t + 1 if t in frames else None for t in range(LENGTH)],
    }


def made_set(folder: Path, tracks: list[dict[str, Any]], num_videos: int) -> Path:
    content = {
        "videos": [
            {
                "id": number,
                "height": HEIGHT,
                "width": WIDTH,
                "length": LENGTH,
                "file_names": [f"v{number}/{t:02d}.jpg" for t in range(LENGTH)],
            }
            for number in range(1, num_videos + 1)
        ],
        "categories": [{"id": number, "name": f"kind {number}"} for number in (1, 2, 3)],
        "annotations": tracks,
    }
    file = folder / "labels.json"
    file.write_text(json.dumps(content))
    return file


def test_one_video_is_split_by_its_time(tmp_path: Path) -> None:
    tracks = [
        made_track(1, 1, 1, range(LENGTH)),
        made_track(2, 1, 2, range(3)),  # only in the training part
        made_track(3, 1, 3, range(7, LENGTH)),  # only in the validation part
    ]
    file = made_set(tmp_path, tracks, 1)
    with pytest.raises(UserError, match="one labelled video cannot be on both sides; --by time gives the end"):
        split_annotations(file, share=0.3)
    split = split_annotations(file, share=0.3, by="time")
    names = [part["videos"][0]["file_names"] for part in (split.train, split.valid)]
    assert names[0] + names[1] == [f"v1/{t:02d}.jpg" for t in range(LENGTH)]
    assert [part["videos"][0]["length"] for part in (split.train, split.valid)] == [7, 3]
    assert [[entry["id"] for entry in part["annotations"]] for part in (split.train, split.valid)] == [[1, 2], [1, 3]]
    assert split.valid["annotations"][0]["areas"] == [8, 9, 10]
    for name, part in (("train", split.train), ("valid", split.valid)):
        made = tmp_path / f"{name}.json"
        made.write_text(json.dumps(part))
        assert not [problem for problem in check_video_set(made, None) if problem.is_error]
        clips = VideoDataset(
            annotation_file=made, frame_folder=tmp_path, clip_rule=ConsecutiveFrames(num_frames=2), samples_per="frame"
        )
        assert len(clips) == len(part["videos"][0]["file_names"])
    assert split.fingerprint == split_annotations(file, share=0.3, seed=5, by="time").fingerprint
    assert split.fingerprint != split_annotations(file, share=0.4, by="time").fingerprint


def test_disjoint_classes_are_split_by_time(tmp_path: Path) -> None:
    file = made_set(tmp_path, [made_track(number, number, number, range(LENGTH)) for number in (1, 2, 3)], 3)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(UserError, match="no category is in two of the 3 labelled videos.*--by time"):
            split_annotations(file, share=share)
        split = split_annotations(file, share=share, by="time")
        assert len(split.train["videos"]) == len(split.valid["videos"]) == 3
        assert len(split.valid["videos"][0]["file_names"]) == round(share * LENGTH)


def test_the_advice_of_the_command_works(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    file = made_set(tmp_path, [made_track(1, 1, 1, range(LENGTH))], 1)
    monkeypatch.setattr("sys.argv", ["prepare.py", "split", str(file), "--by", "time", "--share", "0.2"])
    assert prepare.main() == 0
    assert "1 + 1 videos" in capsys.readouterr().out
    parts = [read_video_annotations(tmp_path / f"split_{name}.json") for name in ("train", "valid")]
    assert [part.videos[0].length for part in parts] == [8, 2]


@pytest.mark.parametrize(
    "frames, share, reason",
    [
        (range(5), 0.2, "no object is in the last part of any video; give a larger --share"),
        (range(9, 10), 0.2, "no object is in the first part of any video; give a smaller --share"),
    ],
)
def test_a_part_without_objects(tmp_path: Path, frames: range, share: float, reason: str) -> None:
    file = made_set(tmp_path, [made_track(1, 1, 1, frames)], 1)
    with pytest.raises(UserError, match=reason):
        split_annotations(file, share=share, by="time")


def test_lists_of_another_length_cannot_be_cut(tmp_path: Path) -> None:
    track = {**made_track(4, 1, 1, range(LENGTH)), "segmentations": [None]}
    with pytest.raises(UserError, match="annotation 4: 'segmentations' is no list with an entry for each frame"):
        split_annotations(made_set(tmp_path, [track], 1), share=0.2, by="time")


def test_ids_that_two_entries_share_are_refused(tmp_path: Path) -> None:
    """The labels of both would otherwise be those of each."""
    file = made_set(tmp_path, [made_track(number, number, 1, range(LENGTH)) for number in (1, 2)], 2)
    content = json.loads(file.read_text())
    content["videos"][1]["id"] = 1
    content["annotations"][1]["video_id"] = 1
    file.write_text(json.dumps(content))
    for by in ("video", "time"):
        with pytest.raises(UserError, match="videos: id 1 is used 2 times; every entry needs its own"):
            split_annotations(file, share=0.5, by=by)
    with pytest.raises(UserError, match="videos: id 1 is used 2 times"):
        read_video_annotations(file)
    image = {"id": 3, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}
    instance = {"id": 1, "image_id": 3, "category_id": 1, "segmentation": []}
    images = {"images": [image, image], "annotations": [instance], "categories": content["categories"]}
    file.write_text(json.dumps(images))
    with pytest.raises(UserError, match="images: id 3 is used 2 times"):
        read_image_annotations(file)
    with pytest.raises(UserError, match="images: id 3 is used 2 times"):
        keep_categories(file, {1})
