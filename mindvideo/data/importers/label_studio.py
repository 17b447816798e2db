"""Label Studio's JSON export: tasks of pictures with regions, and tasks of videos with boxes that have key frames."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from mindvideo.data.importers.builder import TrackBuilder, VisBuilder, relative_name
from mindvideo.data.importers.fields import dictionary, entries, naming, string
from mindvideo.data.importers.label_studio_boxes import add_box_tracks
from mindvideo.data.importers.label_studio_regions import Region, region_mask, regions_of
from mindvideo.data.importers.pictures import pictures_below, require_size
from mindvideo.data.labels.reading import read_json
from mindvideo.data.media.images import natural_key, stored_size
from mindvideo.errors import UserError

_log = logging.getLogger("mindvideo.data")
_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")  # Label Studio puts eight characters in front of an uploaded file's name


@dataclasses.dataclass(frozen=True)
class _Task:
    """``address``: of its picture or video. ``results``: None where nobody has labelled it."""

    where: str
    kind: str
    address: str
    results: list[dict[str, Any]] | None


def convert_label_studio(
    file: str | Path, frames: str | Path, *, categories: list[str] | None = None
) -> dict[str, Any]:
    """YouTube-VIS content of an export in the form "JSON". ``frames``: the folder with the pictures and videos.

    A task's picture is found by the end of its address. Pictures of one folder are a video, in natural order; those
    that nobody labelled are left out. A region's track is the number given to it (a field of the kind Number for each
    region), else the number in its note ("track 3"), else its label, which may then stand only once in a frame.
    """
    file, frames = Path(file), Path(frames)
    content = read_json(file)
    with naming(file):
        tasks = [_read_task(entry, f"tasks[{place}]") for place, entry in enumerate(_task_entries(content))]
        tasks = _labelled(tasks, file)
    builder = VisBuilder(categories=categories)
    pictures = [task for task in tasks if task.kind == "image"]
    if pictures:
        _add_pictures(builder, pictures, frames, file)
    for task in tasks:
        if task.kind == "video":
            video = _find(task, _files_below(frames), frames)
            with naming(f"{file}: {task.where}"):
                add_box_tracks(builder, task.results or [], video, frames)
    return builder.content()


def _task_entries(content: Any) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        raise ValueError("no list of tasks, so not Label Studio's JSON export")
    return entries({"tasks": content}, "tasks")


def _read_task(entry: dict[str, Any], where: str) -> _Task:
    if "annotations" not in entry and "predictions" not in entry:
        raise ValueError(f"{where} has no 'annotations'; export as JSON (JSON-MIN lacks what is needed)")
    data = dictionary(entry.get("data"), f"{where}.data")
    kind = next((kind for kind in ("image", "video") if _is_address(data.get(kind), kind, data)), None)
    if kind is None:
        raise ValueError(f"{where}.data has neither 'image' nor 'video' with an address")
    results = None
    for name in ("annotations", "predictions"):
        answers = entries({name: entry.get(name) or []}, name)
        answers = [answer for answer in answers if not answer.get("was_cancelled")]
        if answers and (name == "annotations" or not entry.get("annotations")):
            results = entries(answers[-1], "result")
            break
    return _Task(where, kind, string(data[kind], f"{where}.data.{kind}"), results)


def _is_address(value: Any, kind: str, data: Mapping[str, Any]) -> bool:
    """Tasks of pictures may carry the name of their video as well, which is not the address of a video."""
    return isinstance(value, str) and (kind == "image" or "image" not in data)


def _labelled(tasks: list[_Task], file: Path) -> list[_Task]:
    kept = [task for task in tasks if task.results is not None]
    if len(kept) < len(tasks):
        _log.warning("%s: nobody labelled %d of %d tasks; they are left out", file, len(tasks) - len(kept), len(tasks))
    return kept


def _add_pictures(builder: VisBuilder, tasks: Sequence[_Task], frames: Path, file: Path) -> None:
    files = {path: relative_name(path, frames) for path in pictures_below(frames)}
    videos: dict[Path, dict[Path, _Task]] = {}
    for task in tasks:
        picture = _find(task, files, frames)
        members = videos.setdefault(picture.parent, {})
        if picture in members:
            raise UserError(f"{file}: {task.where} and {members[picture].where} are both of {picture}")
        members[picture] = task
    for members in videos.values():
        ordered = sorted(members, key=lambda path: natural_key(path.name))
        tracks: dict[Any, TrackBuilder] = {}
        size = None
        for frame, picture in enumerate(ordered):
            task = members[picture]
            with naming(f"{file}: {task.where}"):
                regions = regions_of(task.results or [])
                _add_regions(tracks, frame, regions)
            sizes = {region.size for region in regions} or ({size} if size else set())
            for found in sizes:
                require_size(picture, found, labels=file)
                size = size or found
                if found != size:
                    raise UserError(f"{picture} is {found}, the frames before {size} (height, width)")
        size = size or stored_size(ordered[0])
        for picture in ordered:
            require_size(picture, size, labels=file)
        builder.add_video([files[picture] for picture in ordered], size, list(tracks.values()))


def _add_regions(tracks: dict[Any, TrackBuilder], frame: int, regions: Sequence[Region]) -> None:
    alone: set[str] = set()
    for region in regions:
        if region.track is None:
            if region.label in alone:
                raise ValueError(
                    f"two regions '{region.label}' without a number, so nothing says which object is which; give each "
                    "region its track's number"
                )
            alone.add(region.label)
        try:
            mask = region_mask(region)
        except ValueError as error:
            raise ValueError(f"region '{region.id}', '{region.label}': {error}") from error
        tracks.setdefault((region.label, region.track), TrackBuilder(region.label)).add(frame, mask)


def _files_below(frames: Path) -> dict[Path, str]:
    if not frames.is_dir():
        raise UserError(f"--frames {frames}: no such folder")
    return {path: relative_name(path, frames) for path in frames.rglob("*") if path.is_file()}


def _find(task: _Task, files: Mapping[Path, str], frames: Path) -> Path:
    """The file below ``frames`` whose name has the longest end in common with the task's address."""
    wanted = _parts(task.address)
    best, found = 0, []
    for path, name in files.items():
        length = _common_end(wanted, PurePosixPath(name).parts)
        if length > best:
            best, found = length, [path]
        elif length == best and length:
            found.append(path)
    if not found:
        raise UserError(f"{frames} has no file '{wanted[-1]}', which {task.where} is about ({task.address})")
    if len(found) > 1:
        raise UserError(
            f"{task.where} ({task.address}) may be {found[0]} or {found[1]}; give the folder that is served as --frames"
        )
    return found[0]


def _parts(address: str) -> tuple[str, ...]:
    """The path of an address; local files have theirs in the query, after ``d=``."""
    split = urlsplit(address)
    path = split.query.removeprefix("d=") if split.query.startswith("d=") else split.path
    return PurePosixPath(unquote(path)).parts or ("",)


def _common_end(wanted: tuple[str, ...], parts: tuple[str, ...]) -> int:
    last = _UPLOADED.fullmatch(wanted[-1])
    if parts[-1] != wanted[-1]:
        return 1 if last is not None and parts[-1] == last[1] else 0
    length = 0
    for one, other in zip(reversed(wanted), reversed(parts)):
        if one != other:
            break
        length += 1
    return length
