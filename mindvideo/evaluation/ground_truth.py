"""Labelled videos as the evaluation needs them: masks stay compressed, areas and crowds are kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mindvideo.data.labels.forms import EVALUATED_FORMS
from mindvideo.data.labels.reading import read_json, require_form, require_list
from mindvideo.data.media.video_frames import video_of_frame
from mindvideo.errors import UserError
from mindvideo.masks.forms import Tube, tube_of


@dataclasses.dataclass(frozen=True)
class LabelledTrack:
    """One annotated instance. ``mean_area``: over its non-empty frames, from the file's ``areas``; None without them.

    ``occlusion``: per frame one of the names of OVIS or None; None when the file has none.
    """

    id: int
    category_id: int
    is_crowd: bool
    tube: Tube
    mean_area: float | None
    occlusion: tuple[str | None, ...] | None


@dataclasses.dataclass(frozen=True)
class LabelledVideo:
    id: int | str
    height: int
    width: int
    length: int
    file_names: tuple[str, ...]
    tracks: tuple[LabelledTrack, ...]

    @property
    def name(self) -> str:
        """The folder of its frames or its file, or its id."""
        name = video_of_frame(self.file_names[0]).name if self.file_names else ""
        return name or str(self.id)


@dataclasses.dataclass(frozen=True)
class GroundTruth:
    """``videos`` in the order of their ids, as the official evaluation visits them; ``categories``: id -> name.

    ``is_labelled`` is False where the file holds no labels, as those of official validation and test sets.
    """

    videos: tuple[LabelledVideo, ...]
    categories: Mapping[int, str]
    is_labelled: bool = True

    @property
    def has_occlusion(self) -> bool:
        return any(track.occlusion is not None for video in self.videos for track in video.tracks)


def read_ground_truth(path: str | Path, *, labels_needed: bool = True) -> GroundTruth:
    """A YouTube-VIS annotation file, plain or ``.gz``."""
    path = Path(path)
    content = read_json(path)
    require_list(path, content, "videos", "YouTube-VIS")
    return parse_ground_truth(content, source=str(path), labels_needed=labels_needed)


def parse_ground_truth(
    content: dict[str, Any], *, source: str = "annotations", labels_needed: bool = True
) -> GroundTruth:
    """The content of an annotation file; refused at its first fault with video, annotation and frame.

    Labels may be left out, null or an empty list where they are not needed.
    """
    is_labelled = bool(content.get("annotations"))
    if labels_needed and not is_labelled:
        raise UserError(
            f"{source}: its videos have no annotations (labels of test and validation sets are often withheld), "
            "so nothing can be evaluated with it; a server scores its results (mindvideo submit)"
        )
    require_form(source, content, EVALUATED_FORMS)
    require_lengths(content, source)
    tracks: dict[int | str, list[LabelledTrack]] = {entry["id"]: [] for entry in content["videos"]}
    videos = {entry["id"]: entry for entry in content["videos"]}
    if len(videos) != len(content["videos"]):
        raise UserError(f"{source}: video ids occur more than once")
    categories = {entry["id"]: entry["name"] for entry in content.get("categories") or ()}
    for entry in content.get("annotations") or ():
        video = videos.get(entry["video_id"])
        if video is None:
            raise UserError(f"{source}: annotation {entry.get('id')} is of video {entry.get('video_id')}, not listed")
        if entry.get("category_id") not in categories:
            raise UserError(
                f"{source}: annotation {entry.get('id')} has category {entry.get('category_id')}, which is not listed"
            )
        try:
            tracks[video["id"]].append(_parse_track(entry, video))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{source}: video {video['id']}, annotation {entry.get('id')}: {error}") from error
    return GroundTruth(
        videos=tuple(
            parse_video(videos[key], tracks[key]) for key in sorted(videos, key=lambda key: (str(type(key)), key))
        ),
        categories=categories,
        is_labelled=is_labelled,
    )


def _length_of(video: dict[str, Any]) -> int:
    return int(video["length"]) if "length" in video else len(video["file_names"])


def require_lengths(content: dict[str, Any], source: str) -> None:
    for video in content["videos"]:
        if type(video.get("length")) is not int and not isinstance(video.get("file_names"), list):
            raise UserError(f"{source}: video {video['id']}: no length and no file_names, so its frames are unknown")


def parse_video(entry: dict[str, Any], tracks: Sequence[LabelledTrack] = ()) -> LabelledVideo:
    return LabelledVideo(
        id=entry["id"],
        height=int(entry["height"]),
        width=int(entry["width"]),
        length=_length_of(entry),
        file_names=tuple(entry.get("file_names") or ()),
        tracks=tuple(tracks),
    )


def _parse_track(entry: dict[str, Any], video: dict[str, Any]) -> LabelledTrack:
    segmentations, length = entry["segmentations"], _length_of(video)
    if len(segmentations) != length:
        raise ValueError(f"{len(segmentations)} masks for a video of {length} frames")
    areas = [area for area in entry.get("areas") or () if area]
    occlusion = entry.get("occlusion")
    return LabelledTrack(
        id=entry["id"],
        category_id=entry["category_id"],
        is_crowd=bool(entry.get("iscrowd", 0)),
        tube=tube_of(segmentations, int(video["height"]), int(video["width"])),
        mean_area=(sum(areas) / len(areas) if areas else 0.0) if "areas" in entry else None,
        occlusion=tuple(occlusion) if isinstance(occlusion, list) else None,
    )
