"""The catalogue of data sets: names to annotation files, frame folders and category lists."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindvideo.data.labels.reading import annotation_kind, read_json
from mindvideo.errors import UserError
from mindvideo.resources import resource_folder

CATALOGUE_FILE = resource_folder("datas") / "data.json"
ROOT_VARIABLE = "MINDVIDEO_DATA_ROOT"
KINDS = ("video", "image")
PATH_SEPARATOR = "@"
_OWN_SET = re.compile(r"(.*\.json)@(.*)", re.IGNORECASE | re.DOTALL)  # folders may have an @ in their names


@dataclasses.dataclass(frozen=True)
class DatasetFiles:
    """Where a split of a set lies. ``kind`` is "video" or "image"; ``category_map`` is for images, by coco id.

    ``also_tried``: the other places where the catalogue looked for the annotation file. ``cut_from``: the annotation
    file of which ``prepare split`` makes this one.
    """

    name: str
    kind: str
    annotations: Path
    frames: Path
    categories: Path | None = None
    category_map: Path | None = None
    also_tried: tuple[Path, ...] = ()
    cut_from: Path | None = None

    def require(self) -> DatasetFiles:
        """These files, if the annotation file and the folder of frames exist; else UserError."""
        advice = f"set data.root (or {ROOT_VARIABLE}) to the folder of the data sets, the trees are in datas/README.md"
        if not self.annotations.exists() and self.cut_from is not None and self.cut_from.exists():
            raise UserError(
                f"data set {self.name}: no annotation file {self.annotations}; cut it from the training labels with: "
                f"mindvideo prepare split {self.cut_from}"
            )
        if not self.annotations.exists():
            others = f" (nor {', '.join(map(str, self.also_tried))})" if self.also_tried else ""
            raise UserError(f"data set {self.name}: no annotation file {self.annotations}{others}; {advice}")
        if not self.frames.exists():
            raise UserError(f"data set {self.name}: no folder of frames {self.frames}; {advice}")
        return self


class Catalogue:
    """Reads ``datas/data.json`` (or another file). ``root`` wins over the environment, that over the file's own."""

    def __init__(self, *, file: str | Path = "", root: str | Path = "") -> None:
        self.file = Path(file) if file else CATALOGUE_FILE
        content = read_json(self.file)
        _require_catalogue(content, self.file)
        self.sets: Mapping[str, Mapping[str, Any]] = content["sets"]
        own_root = self.file.parent / content.get("data_root", ".")
        self.root = Path(root or os.environ.get(ROOT_VARIABLE, "") or own_root).expanduser()

    def names(self) -> list[str]:
        return sorted(f"{name}/{split}" for name, entry in self.sets.items() for split in entry["splits"])

    def find(self, name: str) -> DatasetFiles:
        """Files of ``SET/SPLIT``, or of a set given as ``ANNOTATIONS.json@FRAMES``. They need not exist.

        Whether a set given so consists of videos or of images is seen from its annotation file.
        """
        if PATH_SEPARATOR in name:
            match = _OWN_SET.fullmatch(name)
            given = match.groups() if match else name.split(PATH_SEPARATOR, maxsplit=1)
            annotations, frames = (Path(part).expanduser() for part in given)
            return DatasetFiles(name, annotation_kind(annotations), annotations, frames)
        name = self._as_listed(name)
        if name not in self.names():
            close = difflib.get_close_matches(name, self.names(), n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(self.names())}"
            own = f"your own set is given as ANNOTATIONS.json{PATH_SEPARATOR}FRAMES"
            raise UserError(f"no data set '{name}' in {self.file} ({hint}; {own})")
        set_name, split = name.rsplit("/", maxsplit=1)
        entry = self.sets[set_name]
        files = entry["splits"][split]
        places = [
            (folder, folder / file)
            for folder in self._folders(entry["folder"])
            for file in names_of(files["annotations"])
        ]
        folder, annotations = next((place for place in places if place[1].is_file()), places[0])
        return DatasetFiles(
            name=name,
            kind=entry["kind"],
            annotations=annotations,
            frames=_first_there([folder / name for name in names_of(files["frames"])]),
            categories=self._beside(entry.get("categories")),
            category_map=self._beside(entry.get("category_map")),
            also_tried=tuple(file for place, file in places if place == folder and file != annotations),
            cut_from=self._cut_from(set_name, split),
        )

    def _cut_from(self, set_name: str, split: str) -> Path | None:
        is_cut = split.startswith("split_") and "train" in self.sets[set_name]["splits"]
        return self.find(f"{set_name}/train").annotations if is_cut else None

    def _as_listed(self, name: str) -> str:
        """``SET/val`` is what others call ``SET/valid``."""
        long_name = re.sub(r"/val$", "/valid", name)
        return long_name if name not in self.names() and long_name in self.names() else name

    def sets_with_files(self) -> list[DatasetFiles]:
        """Every set of videos below the root of which the annotation file is there."""
        found = (self.find(name) for name in self.names())
        return [files for files in found if files.kind == "video" and files.annotations.is_file()]

    def _folders(self, names: str | list[str]) -> list[Path]:
        """The set's folder below the root, by any of its names; or the root itself, where it is the set's folder."""
        folders = [self.root / name for name in names_of(names)]
        return [folder for folder in folders if folder.exists()] or [folders[0], self.root]

    def _beside(self, file: str | None) -> Path | None:
        return None if file is None else self.file.parent / file


def _first_there(places: list[Path]) -> Path:
    return next((place for place in places if place.exists()), places[0])


def names_of(given: str | list[str]) -> list[str]:
    """One name, or several that a set's file or folder may have; the first that exists is taken."""
    return [given] if isinstance(given, str) else given


def _require_catalogue(content: Any, file: Path) -> None:
    sets = content.get("sets") if isinstance(content, dict) else None
    if not isinstance(sets, dict):
        raise UserError(f"{file}: no 'sets', so not a catalogue; see {CATALOGUE_FILE}")
    if not isinstance(content.get("data_root", ""), str):
        raise UserError(f"{file}: data_root is {content['data_root']!r}; a string is needed")
    for name, entry in sets.items():
        fault = _set_fault(entry)
        if fault is not None:
            raise UserError(f"{file}: set {name}: {fault}; see {CATALOGUE_FILE}")


def _set_fault(entry: Any) -> str | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("splits"), dict):
        return "an object with 'kind', 'folder' and 'splits' is needed"
    if entry.get("kind") not in KINDS:
        return f"kind is {entry.get('kind')!r}; {' or '.join(KINDS)} is needed"
    if not _are_names(entry.get("folder")):
        return f"folder is {entry.get('folder')!r}; a string or a list of strings is needed"
    for key in ("categories", "category_map"):
        if not isinstance(entry.get(key, ""), str):
            return f"{key} is {entry[key]!r}; a string is needed"
    for split, files in entry["splits"].items():
        if not isinstance(files, dict) or not _are_names(files.get("annotations")):
            return f"split {split}: 'annotations', a string or a list of strings, is needed"
        if not _are_names(files.get("frames")):
            return f"split {split}: 'frames', a string or a list of strings, is needed"
    return None


def _are_names(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)
    )
