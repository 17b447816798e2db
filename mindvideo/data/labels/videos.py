"""Annotation files in the YouTube-VIS layout (YouTube-VIS 2019, 2021, 2022, OVIS, converted sets)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from mindvideo.data.labels.categories import Category, read_categories
from mindvideo.data.labels.forms import VIDEO_SET_FORMS, box_fault
from mindvideo.data.labels.reading import read_json, refusal, require_form, require_list, require_own_ids
from mindvideo.masks.forms import read_mask
from mindvideo.masks.rle import Rle


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


def read_video_annotations(path: str | Path) -> VideoAnnotations:
    """Read a file whole. Masks are kept as compressed RLE, a tenth of the memory of the lists in the file.

    ``"annotations": null`` (OVIS validation and test) gives videos without tracks. A file that cannot be used is
    refused at its first fault; ``tools/segmentation/prepare.py check`` lists them all.
    """
    path = Path(path)
    content = read_json(path)
    require_list(path, content, "videos", "YouTube-VIS")
    require_form(path, content, VIDEO_SET_FORMS)
    require_own_ids(path, content, "videos", "categories")
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
