"""Puts a YouTube-VIS annotation file together, video by video."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mindvideo.errors import UserError, printable
from mindvideo.masks.rle import decode_mask, encode_mask, pixel_box, unite_masks

_log = logging.getLogger("mindvideo.data")


class TrackBuilder:
    """One instance; masks arrive frame by frame, a second one for the same frame is united with the first."""

    def __init__(self, category: str, *, is_crowd: bool = False) -> None:
        self.category = category
        self.is_crowd = is_crowd
        self.masks: dict[int, Mapping[str, Any]] = {}

    def add(self, frame: int, mask: np.ndarray) -> None:
        """``mask`` bool or 0/1 [H, W]. An empty one is passed over."""
        if mask.any():
            self._unite(frame, encode_mask(mask))

    def add_rle(self, frame: int, rle: Mapping[str, Any]) -> None:
        if decode_mask(rle).any():
            self._unite(frame, rle)

    def _unite(self, frame: int, rle: Mapping[str, Any]) -> None:
        self.masks[frame] = unite_masks([self.masks[frame], rle]) if frame in self.masks else rle


class VisBuilder:
    """Collects videos and tracks; ``content`` is the finished file."""

    def __init__(self, *, categories: Sequence[str] | None = None, listed_in: str = "the given categories") -> None:
        """``categories``: the names in the order of their ids (from 1), or None to take those met, by alphabet.

        ``listed_in`` says in messages where the names come from.
        """
        if categories is not None:
            _check_names(categories, listed_in)
        self._given = list(categories) if categories is not None else None
        self._without_pixels = 0
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
        seen = [(number, track) for track in tracks if track.masks]
        self._tracks += seen
        self._without_pixels += len(tracks) - len(seen)

    def content(self) -> dict[str, Any]:
        met = {track.category for _, track in self._tracks}
        names = sorted(met) if self._given is None else self._given
        unknown = sorted(met - set(names))
        if unknown:
            raise UserError(
                f"the labels use {printable(', '.join(unknown))}; the given categories are {', '.join(names)}"
            )
        if not self._tracks:
            dropped = f" ({self._without_pixels} tracks have no pixel in any frame)" if self._without_pixels else ""
            raise UserError(
                f"no labelled instance was found{dropped}; is this the right folder or file for this format?"
            )
        if self._without_pixels:
            _log.warning("%d tracks have no pixel in any frame and are left out", self._without_pixels)
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


def _check_names(names: Sequence[str], listed_in: str) -> None:
    if not names:
        raise UserError(f"{listed_in}: none; at least one name is needed")
    for name in names:
        if not name.strip():
            raise UserError(f"{listed_in}: a name is empty in '{', '.join(names)}'; leave it out")
        if names.count(name) > 1:
            raise UserError(f"{listed_in}: '{name}' is there {names.count(name)} times; each name once is needed")


def _annotation(number: int, video: int, category: int, track: TrackBuilder, length: int) -> dict[str, Any]:
    boxes: list[Any] = [None] * length
    segmentations: list[Any] = [None] * length
    areas: list[Any] = [None] * length
    for frame, rle in track.masks.items():
        mask = decode_mask(rle)
        boxes[frame], segmentations[frame], areas[frame] = pixel_box(mask), encode_mask(mask), int(mask.sum())
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
