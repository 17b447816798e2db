"""Annotation files in the YouTube-VIS layout (YouTube-VIS 2019, 2021, 2022, OVIS, converted sets)."""

from __future__ import annotations

import codecs
import dataclasses
import gzip
import json
import mmap
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindvideo.data.labels.annotation_form import CATEGORY_FORM, VIDEO_SET_FORMS, Form, box_fault, form_problems
from mindvideo.errors import UserError
from mindvideo.masks.forms import Rle, to_rle


@dataclasses.dataclass(frozen=True)
class Category:
    id: int
    name: str


@dataclasses.dataclass(frozen=True)
class Track:
    """One instance through a video: per frame a box [x, y, width, height] and a mask, None where it is absent."""

    id: int
    category_id: int
    is_crowd: bool
    boxes: tuple[tuple[float, float, float, float] | None, ...]
    masks: tuple[Rle | None, ...]


@dataclasses.dataclass(frozen=True)
class Video:
    id: int
    height: int
    width: int
    file_names: tuple[str, ...]
    tracks: tuple[Track, ...]

    @property
    def length(self) -> int:
        return len(self.file_names)


@dataclasses.dataclass(frozen=True)
class VideoAnnotations:
    videos: tuple[Video, ...]
    categories: tuple[Category, ...]
    has_labels: bool

    @property
    def category_names(self) -> dict[int, str]:
        return {category.id: category.name for category in self.categories}


class MaskSizeError(ValueError):
    """A mask of another size than its frame."""


def read_json(path: Path) -> Any:
    """The content of a JSON file, plain or ``.gz``; one that is missing or broken is the caller's mistake."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except FileNotFoundError as error:
        raise UserError(f"no annotation file {path}") from error
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder; a JSON file is needed") from error
    except (OSError, ValueError, EOFError, zlib.error) as error:  # ValueError: a null character in the name
        raise UserError(f"{path}: cannot be read ({error})") from error
    try:
        return json.loads(content.removeprefix(codecs.BOM_UTF8).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (at byte {error.start}); save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from error


def annotation_kind(path: Path) -> str:
    """Kind "image" for a COCO file of single images (``images`` and no ``videos``), else "video".

    Looks for the two keys in the text, since parsing takes long; only where both occur is the file parsed.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            has_images, has_videos = (text.find(key) >= 0 for key in (b'"images"', b'"videos"'))
    except (OSError, ValueError):  # missing, a folder or empty: told by who reads it
        return "video"
    if has_images and has_videos:
        content = read_json(path)
        has_videos = not isinstance(content, dict) or "videos" in content
    return "image" if has_images and not has_videos else "video"


def require_list(path: Path, content: Any, part: str, layout: str) -> None:
    if not isinstance(content, dict) or not isinstance(content.get(part), list):
        raise UserError(f"{path}: no '{part}' list, so not a {layout} annotation file")


def require_form(path: Path | str, content: Any, forms: Mapping[str, Form]) -> None:
    for problem in form_problems(content, forms):
        raise refusal(path, problem.where, problem.message)


def refusal(path: Path | str, where: str, message: object) -> UserError:
    """What a reader raises at the first fault of a file."""
    return UserError(f"{path}: {where}: {message}; for the whole list: tools/segmentation/prepare.py check FILE@FRAMES")


def read_video_annotations(path: str | Path) -> VideoAnnotations:
    """Read a file whole. Masks are kept as compressed RLE, a tenth of the memory of the lists in the file.

    ``"annotations": null`` (OVIS validation and test) gives videos without tracks. A file that cannot be used is
    refused at its first fault; ``tools/segmentation/prepare.py check`` lists them all.
    """
    path = Path(path)
    content = read_json(path)
    require_list(path, content, "videos", "YouTube-VIS")
    require_form(path, content, VIDEO_SET_FORMS)
    tracks: dict[int, list[Track]] = {entry["id"]: [] for entry in content["videos"]}
    sizes = {entry["id"]: (entry["height"], entry["width"], len(entry["file_names"])) for entry in content["videos"]}
    for entry in content.get("annotations") or ():
        if entry["video_id"] not in sizes:
            message = f"it is of video {entry['video_id']}, which is not listed"
            raise refusal(path, f"annotation {entry['id']}", message)
        tracks[entry["video_id"]].append(_read_track(path, entry, *sizes[entry["video_id"]]))
    videos = tuple(
        Video(
            id=entry["id"],
            height=entry["height"],
            width=entry["width"],
            file_names=tuple(entry["file_names"]),
            tracks=tuple(tracks[entry["id"]]),
        )
        for entry in content["videos"]
    )
    return VideoAnnotations(videos, read_categories(content), has_labels=bool(content.get("annotations")))


def read_category_file(path: Path) -> tuple[Category, ...]:
    """The categories of an annotation file, or of a list of them alone (``datas/categories``)."""
    content = read_json(path)
    if isinstance(content, list):
        content = {"categories": content}
    if not isinstance(content, dict):
        raise UserError(f"{path}: neither an annotation file nor a list of categories")
    for problem in form_problems(content, {"categories": CATEGORY_FORM}):
        raise UserError(f"{path}: {problem.where}: {problem.message}")
    return read_categories(content)


def read_categories(content: Mapping[str, Any]) -> tuple[Category, ...]:
    """The categories of an annotation file that has the form."""
    return tuple(Category(entry["id"], entry["name"]) for entry in content.get("categories") or ())


def _read_track(path: Path, entry: dict[str, Any], height: int, width: int, length: int) -> Track:
    boxes, segmentations = entry["bboxes"], entry["segmentations"]
    where = f"annotation {entry['id']}"
    if len(boxes) != length or len(segmentations) != length:
        message = f"{len(boxes)} boxes and {len(segmentations)} masks for a video of {length} frames"
        raise refusal(path, where, message)
    masks = []
    for frame, (box, segmentation) in enumerate(zip(boxes, segmentations)):
        if fault := box_fault(box):
            raise refusal(path, f"{where}, frame {frame}", fault)
        try:
            masks.append(None if segmentation is None else read_mask(segmentation, height, width))
        except ValueError as error:
            raise refusal(path, f"{where}, frame {frame}", error) from error
    return Track(
        id=entry["id"],
        category_id=entry["category_id"],
        is_crowd=bool(entry.get("iscrowd", 0)),
        boxes=tuple(None if box is None else tuple(box) for box in boxes),
        masks=tuple(masks),
    )


def read_mask(segmentation: Any, height: int, width: int) -> Rle:
    """RLE of the frame's size; ValueError with the reason where it is none."""
    rle = to_rle(segmentation, height, width)
    # RLE of one frame written with another size cannot be told apart later, so the size is checked here.
    if list(rle["size"]) != [height, width]:
        raise MaskSizeError(f"mask size {list(rle['size'])}, frame size {[height, width]} ([height, width])")
    return rle
