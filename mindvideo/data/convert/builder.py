"""Puts a YouTube-VIS annotation file together, video by video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mindvideo.data.segmentation import Rle, decode_mask, encode_mask, mask_box, unite
from mindvideo.errors import UserError


class TrackBuilder:
    """One instance; masks arrive frame by frame, a second one for the same frame is united with the first."""

    def __init__(self, category: str, *, is_crowd: bool = False) -> None:
        self.category = category
        self.is_crowd = is_crowd
        self.masks: dict[int, Rle] = {}

    def add(self, frame: int, mask: np.ndarray) -> None:
        """``mask`` bool or 0/1 [H, W]. Nothing is noted down for an empty one."""
        if mask.any():
            self.add_rle(frame, encode_mask(mask))

    def add_rle(self, frame: int, rle: Rle) -> None:
        self.masks[frame] = unite([self.masks[frame], rle]) if frame in self.masks else rle


class VisBuilder:
    """Collects videos and tracks; ``content`` is the finished file."""

    def __init__(self, *, categories: Sequence[str] | None = None) -> None:
        """``categories``: the names in the order of their ids (from 1), or None to take those met, by alphabet."""
        self._given = list(categories) if categories is not None else None
        self._videos: list[dict[str, Any]] = []
        self._tracks: list[tuple[int, TrackBuilder]] = []

    def add_video(self, file_names: Sequence[str], size: tuple[int, int], tracks: Sequence[TrackBuilder]) -> None:
        number = len(self._videos) + 1
        self._videos.append(
            {
                "id": number,
                "height": size[0],
                "width": size[1],
                "length": len(file_names),
                "file_names": list(file_names),
            }
        )
        self._tracks += [(number, track) for track in tracks if track.masks]

    def content(self) -> dict[str, Any]:
        names = self._given or sorted({track.category for _, track in self._tracks})
        unknown = sorted({track.category for _, track in self._tracks} - set(names))
        if unknown:
            raise UserError(f"the labels use {', '.join(unknown)}; the given categories are {', '.join(names)}")
        if not self._tracks:
            raise UserError("no labelled instance was found; is this the right folder or file for this format?")
        numbers = {name: number for number, name in enumerate(names, start=1)}
        lengths = {video["id"]: video["length"] for video in self._videos}
        return {
            "info": {"description": "converted by mindvideo"},
            "videos": self._videos,
            "categories": [{"id": number, "name": name} for name, number in numbers.items()],
            "annotations": [
                _annotation(number, video, numbers[track.category], track, lengths[video])
                for number, (video, track) in enumerate(self._tracks, start=1)
            ],
        }


def _annotation(number: int, video: int, category: int, track: TrackBuilder, length: int) -> dict[str, Any]:
    boxes: list[Any] = [None] * length
    segmentations: list[Any] = [None] * length
    areas: list[Any] = [None] * length
    for frame, rle in track.masks.items():
        mask = decode_mask(rle)
        box = mask_box(mask)
        if box is not None:
            boxes[frame], segmentations[frame], areas[frame] = box, encode_mask(mask), int(mask.sum())
    return {
        "id": number,
        "video_id": video,
        "category_id": category,
        "iscrowd": int(track.is_crowd),
        "bboxes": boxes,
        "segmentations": segmentations,
        "areas": areas,
    }


def relative_name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
