"""Finds everything that is wrong with a data set: compares the annotation file with the files on disk."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mindvideo.data.labels.forms import (
    CATEGORY_FORM,
    TRACK_FORM,
    VIDEO_FORM,
    VIDEO_SET_FORMS,
    Problem,
    box_fault,
    form_problems,
    has_form,
    id_problems,
    place_of,
)
from mindvideo.data.labels.picture_problems import frame_problem
from mindvideo.data.labels.reading import read_json, require_list
from mindvideo.data.media.video_frames import VideoFrames, parse_video_frame
from mindvideo.masks.forms import MaskSizeError, read_mask
from mindvideo.masks.rle import decode_mask, pixel_box

BOX_TOLERANCE = 2.0  # pixels by which a box may differ from the tight box of its mask


def check_video_set(
    annotation_file: str | Path, frame_folder: str | Path | None, *, decode: bool = False
) -> list[Problem]:
    """Every problem of a YouTube-VIS set. Without a folder frames are not looked at; ``decode`` reads them whole."""
    content = read_json(Path(annotation_file))
    require_list(Path(annotation_file), content, "videos", "YouTube-VIS")
    problems = [*form_problems(content, VIDEO_SET_FORMS), *check_ids(content, VIDEO_SET_FORMS)]
    problems += _check_videos(content["videos"])
    if frame_folder is not None:
        for index, video in enumerate(content["videos"]):
            if isinstance(video, dict):
                problems += _check_frames(video, place_of("videos", index, video), Path(frame_folder), decode)
    problems += check_labelled(content, "only fit for testing")
    videos = by_id(content, "videos")
    categories = by_id(content, "categories")
    for entry in entries_of(content, "annotations"):
        if has_form(entry, TRACK_FORM):
            problems += _check_track(entry, videos, categories)
    return problems + list(_check_use(content))


def entries_of(content: Mapping[str, Any], part: str) -> list[Any]:
    """The entries of a part; none where it is not a list, which is a problem of its form."""
    entries = content.get(part)
    return entries if isinstance(entries, list) else []


def by_id(content: Mapping[str, Any], part: str) -> dict[Any, dict[str, Any]]:
    entries = (entry for entry in entries_of(content, part) if isinstance(entry, dict))
    return {entry["id"]: entry for entry in entries if type(entry.get("id")) in (int, str)}


def check_ids(content: Mapping[str, Any], parts: Mapping[str, Any]) -> Iterator[Problem]:
    yield from id_problems(content, parts)
    if not content.get("categories"):
        yield Problem("categories", "categories", "the file lists none")


def check_labelled(content: Mapping[str, Any], consequence: str) -> Iterator[Problem]:
    if not content.get("annotations"):
        yield Problem("unlabelled", "annotations", f"null, missing or empty: {consequence}", is_error=False)


def _check_videos(videos: list[Any]) -> Iterator[Problem]:
    for index, video in enumerate(videos):
        names = video.get("file_names") if isinstance(video, dict) else None
        if not isinstance(names, list):
            continue
        where = place_of("videos", index, video)
        if not names:
            yield Problem("empty video", where, "no frames")
        if "length" in video and video["length"] != len(names):
            yield Problem("video length", where, f"length {video['length']!r}, but {len(names)} file names")
        for name, times in Counter(name for name in names if isinstance(name, str)).items():
            if times > 1:
                yield Problem("repeated frame", where, f"{name} is listed {times} times", is_error=False)


def _check_frames(video: dict[str, Any], where: str, folder: Path, decode: bool) -> Iterator[Problem]:
    names = [name for name in entries_of(video, "file_names") if isinstance(name, str) and name]
    videos = VideoFrames()
    alike: dict[str, list[Problem]] = {}  # a video file may give the same problem for many frames
    broken: dict[str, Problem] = {}  # video files that cannot be opened
    for name in dict.fromkeys(names):
        file, _ = parse_video_frame(name) or (name, 0)
        problem = broken.get(file) or frame_problem(folder / name, annotated_size(video), where, decode, videos)
        if problem is None:
            continue
        alike.setdefault(problem.message.replace(name, file), []).append(problem)
        if problem.kind == "broken video":
            broken[file] = problem
    for problem, *others in alike.values():
        more = f"; the same for {len(others)} more of its {len(names)} frames" if others else ""
        yield dataclasses.replace(problem, message=problem.message + more)


def annotated_size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    """(height, width) of a video or image; None where they are not numbers, which is a problem of its form."""
    height, width = entry.get("height"), entry.get("width")
    return (height, width) if type(height) is int and type(width) is int else None


def _check_track(
    entry: dict[str, Any], videos: dict[Any, dict[str, Any]], categories: Mapping[Any, Any]
) -> Iterator[Problem]:
    where = f"annotation {entry['id']}"
    yield from check_category(where, entry["category_id"], categories)
    video = videos.get(entry["video_id"])
    if video is None:
        yield Problem("unknown video", where, f"video {entry['video_id']} is not in 'videos'")
        return
    if not any(entry["bboxes"]):
        yield Problem("empty track", where, "not present in any frame")
    if not has_form(video, VIDEO_FORM):
        return
    length = len(video["file_names"])
    for key in ("bboxes", "segmentations"):
        if len(entry[key]) != length:
            yield Problem("track length", where, f"{len(entry[key])} {key} for a video of {length} frames")
    size = (video["height"], video["width"])
    for frame, (box, segmentation) in enumerate(zip(entry["bboxes"], entry["segmentations"])):
        yield from _check_instance(f"{where}, frame {frame}", box, segmentation, size)


def check_category(where: str, category: int, categories: Mapping[Any, Any]) -> Iterator[Problem]:
    if categories and category not in categories:  # a file without any has its own problem
        yield Problem("unknown category", where, f"category {category} is not in 'categories'")


def _check_instance(where: str, box: Any, segmentation: Any, size: tuple[int, int]) -> Iterator[Problem]:
    if (box is None) != (segmentation is None):
        yield Problem("half present", where, "a mask without a box" if box is None else "a box without a mask")
    box_problem = None if box is None else check_box(where, box, size)
    if box_problem is not None:
        yield box_problem
    if segmentation is None:
        return
    try:
        rle = read_mask(segmentation, *size)
    except ValueError as error:
        yield mask_problem(where, error)
        return
    tight = pixel_box(decode_mask(rle))
    if tight is None:
        yield Problem("empty mask", where, "a segmentation without pixels")
    elif box is not None and (box_problem is None or not box_problem.is_error):
        if max(abs(a - b) for a, b in zip(_corners(box), _corners(tight))) > BOX_TOLERANCE:
            yield Problem("box and mask", where, f"box {box}, but the mask's is {tight}", is_error=False)


def check_box(where: str, box: Any, size: tuple[int, int]) -> Problem | None:
    height, width = size
    if fault := box_fault(box):
        return Problem("box", where, fault)
    if box[2] <= 0 or box[3] <= 0:
        return Problem("box", where, f"box {box}; x, y, width > 0, height > 0 are needed")
    if box[0] < -1 or box[1] < -1 or box[0] + box[2] > width + 1 or box[1] + box[3] > height + 1:
        return Problem("box", where, f"box {box} leaves the frame of height {height}, width {width}", is_error=False)
    return None


def mask_problem(where: str, error: ValueError) -> Problem:
    """``error`` is what :func:`read_mask` raised."""
    return Problem("mask size" if isinstance(error, MaskSizeError) else "mask", where, str(error))


def _corners(box: list[float]) -> tuple[float, float, float, float]:
    return box[0], box[1], box[0] + box[2], box[1] + box[3]


def _check_use(content: dict[str, Any]) -> Iterator[Problem]:
    annotations = [entry for entry in entries_of(content, "annotations") if has_form(entry, TRACK_FORM)]
    if not annotations:
        return
    categories = [entry for entry in entries_of(content, "categories") if has_form(entry, CATEGORY_FORM)]
    used = {entry["category_id"] for entry in annotations}
    unused = [category["name"] for category in categories if category["id"] not in used]
    if unused:
        yield Problem("unused category", "categories", ", ".join(unused), is_error=False)
    labelled = {entry["video_id"] for entry in annotations}
    empty = len(by_id(content, "videos").keys() - labelled)
    if empty:
        yield Problem("unlabelled video", "videos", f"{empty} without annotations; training skips them", is_error=False)
