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
        ({"sets": {"own": {"kind": "video", "folder": ".", "splits": {"train": {}}}}}, "set own: split train: strings"),
    ],
)
def test_a_file_that_is_no_catalogue(tmp_path: Path, content: Any, reason: str) -> None:
    file = tmp_path / "catalogue.json"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=reason):
        Catalogue(file=file)
