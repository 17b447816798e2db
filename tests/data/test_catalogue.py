"""Sets by name and by ANNOTATIONS.json@FRAMES, whose kind is seen from the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mindvideo.data.labels.catalogue import Catalogue
from mindvideo.errors import UserError


@pytest.mark.parametrize(
    "content, kind",
    [
        ({"videos": [], "annotations": []}, "video"),
        ({"images": [], "annotations": []}, "image"),
        ({"images": [], "videos": []}, "video"),  # COCO-video
        ({"info": {"description": "videos"}, "images": []}, "image"),
        ({"info": {"videos": []}, "images": []}, "image"),
        ({"info": "images", "videos": []}, "video"),
        ([], "video"),
    ],
)
def test_the_kind_of_an_own_set_is_that_of_its_file(tmp_path: Path, content: Any, kind: str) -> None:
    (tmp_path / "own.json").write_text(json.dumps(content))
    assert Catalogue().find(f"{tmp_path}/own.json@{tmp_path}").kind == kind


def test_own_sets_need_not_exist() -> None:
    assert Catalogue().find("/none/a.json@/none/frames").kind == "video"


@pytest.mark.parametrize(
    "name, annotations, frames",
    [
        ("me@host/a.json@frames", "me@host/a.json", "frames"),
        ("a.json@me@host/frames", "a.json", "me@host/frames"),
        ("me@host/A.JSON@me@host", "me@host/A.JSON", "me@host"),
        ("v1.json@old/a.json@frames", "v1.json@old/a.json", "frames"),
        ("labels@frames", "labels", "frames"),
    ],
)
def test_folders_with_an_at_in_their_names(name: str, annotations: str, frames: str) -> None:
    files = Catalogue().find(name)
    assert (files.annotations, files.frames) == (Path(annotations), Path(frames))


SPLITS = {"train": {"annotations": "a.json", "frames": "f"}}


@pytest.mark.parametrize(
    "content, reason",
    [
        ([], "no 'sets', so not a catalogue"),
        ({}, "no 'sets', so not a catalogue"),
        ({"sets": {"own": {"kind": "video", "folder": "."}}}, "set own: an object with 'kind', 'folder' and 'splits'"),
        ({"sets": {"own": {"kind": "sound", "folder": ".", "splits": SPLITS}}}, "set own: kind is 'sound'; video or"),
        ({"sets": {"own": {"kind": "video", "splits": SPLITS}}}, "set own: folder is None; a string"),
        (
            {"sets": {"own": {"kind": "video", "folder": ".", "splits": {"train": {}}}}},
            "split train: 'annotations', a string or a list",
        ),
        (
            {"sets": {"own": {"kind": "video", "folder": [], "splits": SPLITS}}},
            r"set own: folder is \[\]; a string or a list of strings is needed",
        ),
        ({"sets": {}, "data_root": 5}, "data_root is 5; a string is needed"),
    ],
)
def test_a_file_that_is_no_catalogue(tmp_path: Path, content: Any, reason: str) -> None:
    file = tmp_path / "catalogue.json"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=reason):
        Catalogue(file=file)


TREES = {
    "as the challenge of 2019 names them": ("ytvis19", "youtube_vis_2019", "annotations/instances_{}_sub.json"),
    "2019 with the lists beside the folders": ("ytvis19", "ytvis_2019", "{}.json"),
    "2021 as downloaded": ("ytvis21", "ytvis_2021", "{}/instances.json"),
    "2022 as downloaded": ("ytvis22", "youtube_vis_2022", "{}/instances.json"),
}


@pytest.mark.parametrize("at_root", [False, True], ids=["below the root", "root is the set"])
@pytest.mark.parametrize("tree", TREES)
def test_trees_as_they_are_downloaded(tmp_path: Path, tree: str, at_root: bool) -> None:
    name, folder, pattern = TREES[tree]
    for split in ("train", "valid", "test"):
        part = {"valid": "val"}.get(split, split) if "_sub" in pattern else split
        file = tmp_path / folder / pattern.format(part)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
        frames = tmp_path / folder / split / "JPEGImages"
        frames.mkdir(parents=True)
        found = Catalogue(root=tmp_path / folder if at_root else tmp_path).find(f"{name}/{split}").require()
        assert (found.annotations, found.frames) == (file, frames)


def test_a_set_that_is_nowhere_names_the_places_that_were_tried(tmp_path: Path) -> None:
    (tmp_path / "ytvis_2021").mkdir()
    with pytest.raises(UserError) as caught:
        Catalogue(root=tmp_path).find("ytvis21/train").require()
    message = str(caught.value)
    for place in ("annotations/instances_train_sub.json", "train.json", "train/instances.json"):
        assert str(tmp_path / "ytvis_2021" / place) in message
    assert "\n" not in message and "set data.root" in message


def test_the_folder_of_frames_is_named_when_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "ytvis_2021/train").mkdir(parents=True)
    (tmp_path / "ytvis_2021/train/instances.json").write_text("{}")
    with pytest.raises(UserError, match="no folder of frames .*ytvis_2021/train/JPEGImages; set data.root"):
        Catalogue(root=tmp_path).find("ytvis21/train").require()
