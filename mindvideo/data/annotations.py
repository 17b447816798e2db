"""Annotation files in the YouTube-VIS layout (YouTube-VIS 2019, 2021, 2022, OVIS, converted sets)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from mindvideo.data.segmentation import Rle, to_rle
from mindvideo.errors import UserError


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


def read_json(path: Path) -> Any:
    """The content of a JSON file; a missing or broken one is the caller's mistake, told in one line."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"no annotation file {path}") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from error


def read_video_annotations(path: str | Path) -> VideoAnnotations:
    """Read a file whole. Masks are kept as compressed RLE, a tenth of the memory of the lists in the file.

    ``"annotations": null`` (OVIS validation and test) gives videos without tracks. A file that cannot be used is
    refused at its first fault; ``tools/segmentation/prepare.py check`` lists them all.
    """
    path = Path(path)
    content = read_json(path)
    if not isinstance(content, dict) or "videos" not in content:
        raise UserError(f"{path}: no 'videos' list, so not a YouTube-VIS annotation file")
    tracks: dict[int, list[Track]] = {entry["id"]: [] for entry in content["videos"]}
    sizes = {entry["id"]: (entry["height"], entry["width"], len(entry["file_names"])) for entry in content["videos"]}
    for entry in content.get("annotations") or ():
        if entry["video_id"] not in sizes:
            raise UserError(f"{path}: annotation {entry['id']} is of video {entry['video_id']}, which is not listed")
        try:
            tracks[entry["video_id"]].append(_read_track(entry, *sizes[entry["video_id"]]))
        except (KeyError, TypeError, ValueError) as error:
            advice = "list every problem with: prepare.py check"
            raise UserError(f"{path}: annotation {entry.get('id')}: {error}; {advice}") from error
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
    categories = tuple(Category(entry["id"], entry["name"]) for entry in content.get("categories") or ())
    return VideoAnnotations(videos, categories, has_labels=bool(content.get("annotations")))


def _read_track(entry: dict[str, Any], height: int, width: int, length: int) -> Track:
    boxes, segmentations = entry["bboxes"], entry["segmentations"]
    if len(boxes) != length or len(segmentations) != length:
        raise ValueError(f"{len(boxes)} boxes and {len(segmentations)} masks for a video of {length} frames")
    # RLE of one frame written with another size cannot be told apart later, so the size is checked here.
    masks = []
    for segmentation in segmentations:
        rle = None if segmentation is None else to_rle(segmentation, height, width)
        if rle is not None and list(rle["size"]) != [height, width]:
            raise ValueError(f"mask size {list(rle['size'])}, video size {[height, width]}")
        masks.append(rle)
    return Track(
        id=entry["id"],
        category_id=entry["category_id"],
        is_crowd=bool(entry.get("iscrowd", 0)),
        boxes=tuple(None if box is None else tuple(box) for box in boxes),
        masks=tuple(masks),
    )
