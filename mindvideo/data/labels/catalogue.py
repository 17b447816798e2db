"""The catalogue of data sets: names to annotation files, frame folders and category lists."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindvideo.data.labels.annotations import annotation_kind, read_json
from mindvideo.errors import UserError
from mindvideo.resources import resource_folder

CATALOGUE_FILE = resource_folder("datas") / "data.json"
ROOT_VARIABLE = "MINDVIDEO_DATA_ROOT"
KINDS = ("video", "image")
PATH_SEPARATOR = "@"
_OWN_SET = re.compile(r"(.*\.json)@(.*)", re.IGNORECASE | re.DOTALL)  # folders may have an @ in their names


@dataclasses.dataclass(frozen=True)
class DatasetFiles:
    """Where a split of a set lies. ``kind`` is "video" or "image"; ``category_map`` is for images, by coco id."""

    name: str
    kind: str
    annotations: Path
    frames: Path
    categories: Path | None = None
    category_map: Path | None = None

    def require(self) -> DatasetFiles:
        """Itself, when the annotation file and the frame folder are there."""
        for path, what in ((self.annotations, "annotation file"), (self.frames, "folder of frames")):
            if not path.exists():
                raise UserError(
                    f"data set {self.name}: no {what} {path}; set data.root (or {ROOT_VARIABLE}) to the folder of the "
                    "data sets, the trees are in datas/README.md"
                )
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
        if name not in self.names():
            close = difflib.get_close_matches(name, self.names(), n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(self.names())}"
            own = f"your own set is given as ANNOTATIONS.json{PATH_SEPARATOR}FRAMES"
            raise UserError(f"no data set '{name}' in {self.file} ({hint}; {own})")
        set_name, split = name.rsplit("/", maxsplit=1)
        entry = self.sets[set_name]
        files = entry["splits"][split]
        folder = self._folder(entry["folder"], files["annotations"])
        return DatasetFiles(
            name=name,
            kind=entry["kind"],
            annotations=folder / files["annotations"],
            frames=folder / files["frames"],
            categories=self._beside(entry.get("categories")),
            category_map=self._beside(entry.get("category_map")),
        )

    def _folder(self, folder: str, annotations: str) -> Path:
        """The set's folder below the root, or the root itself when that is where this very set lies."""
        if not (self.root / folder).exists() and (self.root / annotations).is_file():
            return self.root
        return self.root / folder

    def _beside(self, file: str | None) -> Path | None:
        return None if file is None else self.file.parent / file


def _require_catalogue(content: Any, file: Path) -> None:
    sets = content.get("sets") if isinstance(content, dict) else None
    if not isinstance(sets, dict):
        raise UserError(f"{file}: no 'sets', so not a catalogue; see {CATALOGUE_FILE}")
    for name, entry in sets.items():
        fault = _set_fault(entry)
        if fault is not None:
            raise UserError(f"{file}: set {name}: {fault}; see {CATALOGUE_FILE}")


def _set_fault(entry: Any) -> str | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("splits"), dict):
        return "an object with 'kind', 'folder' and 'splits' is needed"
    if entry.get("kind") not in KINDS:
        return f"kind is {entry.get('kind')!r}; {' or '.join(KINDS)} is needed"
    if not isinstance(entry.get("folder"), str):
        return f"folder is {entry.get('folder')!r}; a text is needed"
    for split, files in entry["splits"].items():
        if not isinstance(files, dict) or not all(isinstance(files.get(key), str) for key in ("annotations", "frames")):
            return f"split {split}: texts 'annotations' and 'frames' are needed"
    return None
