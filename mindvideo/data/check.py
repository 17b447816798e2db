"""Finds everything that is wrong with a data set: the annotation file and the files on disk held against each other."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from mindvideo.data.annotations import read_json
from mindvideo.data.broken_frame import BrokenFrameError
from mindvideo.data.frame_reader import decode_frame
from mindvideo.data.segmentation import decode_mask, mask_box, to_rle
from mindvideo.data.video_frames import VideoFrames, parse_video_frame
from mindvideo.errors import UserError

BOX_TOLERANCE = 2.0  # pixels by which a box may differ from the tight box of its mask
VIDEO_KEYS = ("id", "height", "width", "file_names")
TRACK_KEYS = ("id", "video_id", "category_id", "bboxes", "segmentations")


@dataclasses.dataclass(frozen=True)
class Problem:
    """``kind`` groups problems in a summary, ``where`` names the place, ``message`` says what is wrong."""

    kind: str
    where: str
    message: str
    is_error: bool = True

    def __str__(self) -> str:
        return f"{'error' if self.is_error else 'note'}: {self.kind}: {self.where}: {self.message}"


def check_video_set(
    annotation_file: str | Path, frame_folder: str | Path | None, *, decode: bool = False
) -> list[Problem]:
    """Every problem of a YouTube-VIS set. Without a folder frames are not looked at; ``decode`` reads them whole."""
    content = read_json(Path(annotation_file))
    if not isinstance(content, dict) or not isinstance(content.get("videos"), list):
        raise UserError(f"{annotation_file}: no 'videos' list, so not a YouTube-VIS annotation file")
    problems = [*_check_ids(content), *_check_videos(content["videos"])]
    if frame_folder is not None:
        for video in content["videos"]:
            problems += _check_frames(video, Path(frame_folder), decode)
    if content.get("annotations") is None:
        problems.append(Problem("unlabelled", "annotations", "null or missing: fit for testing alone", is_error=False))
    videos = {video.get("id"): video for video in content["videos"]}
    categories = {category.get("id") for category in content.get("categories") or ()}
    for entry in content.get("annotations") or ():
        problems += _check_track(entry, videos, categories)
    return problems + list(_check_use(content))


def _check_ids(content: dict[str, Any]) -> Iterator[Problem]:
    for part in ("videos", "annotations", "categories"):
        entries = content.get(part) or []
        if part == "categories" and not entries:
            yield Problem("categories", part, "the file lists none")
        for number, times in Counter(entry.get("id") for entry in entries).items():
            if number is None:
                yield Problem("missing key", part, f"{times} without 'id'")
            elif times > 1:
                yield Problem("duplicate id", part, f"id {number} is used {times} times")


def _check_videos(videos: list[dict[str, Any]]) -> Iterator[Problem]:
    for video in videos:
        where = f"video {video.get('id')}"
        missing = [key for key in VIDEO_KEYS if key not in video]
        if missing:
            yield Problem("missing key", where, f"no {', '.join(missing)}")
        names = video.get("file_names") or []
        if not names:
            yield Problem("empty video", where, "no frames")
        if "length" in video and video["length"] != len(names):
            yield Problem("video length", where, f"length {video['length']}, but {len(names)} file names")
        for name, times in Counter(names).items():
            if times > 1:
                yield Problem("repeated frame", where, f"{name} is listed {times} times", is_error=False)


def _check_frames(video: dict[str, Any], folder: Path, decode: bool) -> Iterator[Problem]:
    size = (video.get("height"), video.get("width"))
    videos = VideoFrames()
    for name in dict.fromkeys(video.get("file_names") or ()):
        problem = frame_problem(folder / name, size, f"video {video.get('id')}", decode, videos)
        if problem is not None:
            yield problem


def frame_problem(
    path: Path, annotated: tuple[Any, Any], where: str, decode: bool, videos: VideoFrames
) -> Problem | None:
    """What is wrong with one picture, or one frame of a video file, that is annotated as (height, width)."""
    place = parse_video_frame(str(path))
    file = path if place is None else Path(place[0])
    if not file.is_file():
        return Problem("missing frame", where, f"no file {file}")
    try:
        if place is not None:
            size = _video_frame_size(videos, *place, decode)
        else:
            size = decode_frame(path).shape[:2] if decode else _header_size(path)
    except BrokenFrameError as error:
        return Problem("broken frame", where, str(error))
    if size != annotated:
        found = f"{size[0]} x {size[1]} (height x width)"
        return Problem("frame size", where, f"{path} is {found}, annotated as {annotated[0]} x {annotated[1]}")
    return None


def _video_frame_size(videos: VideoFrames, file: str, frame: int, decode: bool) -> tuple[int, int]:
    """The frame's own size, or the video's when the frame is in range and need not be decoded."""
    if decode or frame >= videos.num_frames(file):
        return videos.read(file, [frame]).shape[1:3]
    return videos.size(file)


def _header_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise BrokenFrameError(f"{path}: the frame cannot be read ({error})") from error


def _check_track(entry: dict[str, Any], videos: dict[Any, dict[str, Any]], categories: set[Any]) -> Iterator[Problem]:
    where = f"annotation {entry.get('id')}"
    missing = [key for key in TRACK_KEYS if key not in entry]
    if missing:
        yield Problem("missing key", where, f"no {', '.join(missing)}")
        return
    if entry["category_id"] not in categories:
        yield Problem("unknown category", where, f"category {entry['category_id']} is not in 'categories'")
    video = videos.get(entry["video_id"])
    if video is None:
        yield Problem("unknown video", where, f"video {entry['video_id']} is not in 'videos'")
        return
    length = len(video.get("file_names") or ())
    for key in ("bboxes", "segmentations"):
        if len(entry[key]) != length:
            yield Problem("track length", where, f"{len(entry[key])} {key} for a video of {length} frames")
    if not any(entry["bboxes"]):
        yield Problem("empty track", where, "not present in any frame")
    for frame, (box, segmentation) in enumerate(zip(entry["bboxes"], entry["segmentations"])):
        yield from _check_instance(f"{where}, frame {frame}", box, segmentation, video)


def _check_instance(where: str, box: Any, segmentation: Any, video: dict[str, Any]) -> Iterator[Problem]:
    if (box is None) != (segmentation is None):
        yield Problem("half present", where, "a box without a mask" if box else "a mask without a box")
    height, width = video.get("height"), video.get("width")
    if not isinstance(height, int) or not isinstance(width, int):
        return
    if box is not None:
        if len(box) != 4 or box[2] <= 0 or box[3] <= 0:
            yield Problem("box", where, f"{box}: four numbers x, y, width > 0, height > 0 are needed")
            return
        if box[0] < -1 or box[1] < -1 or box[0] + box[2] > width + 1 or box[1] + box[3] > height + 1:
            yield Problem("box", where, f"{box} leaves the frame of height {height}, width {width}", is_error=False)
    if segmentation is None:
        return
    try:
        rle = to_rle(segmentation, height, width)
    except (KeyError, TypeError, ValueError) as error:
        yield Problem("mask", where, str(error))
        return
    if list(rle["size"]) != [height, width]:
        yield Problem("mask size", where, f"{list(rle['size'])}, the video is {[height, width]} ([height, width])")
        return
    tight = mask_box(decode_mask(rle))
    if tight is None:
        yield Problem("empty mask", where, "a segmentation without pixels")
    elif box is not None and max(abs(a - b) for a, b in zip(_corners(box), _corners(tight))) > BOX_TOLERANCE:
        yield Problem("box and mask", where, f"box {box}, but the mask's is {tight}", is_error=False)


def _corners(box: list[float]) -> tuple[float, float, float, float]:
    return box[0], box[1], box[0] + box[2], box[1] + box[3]


def _check_use(content: dict[str, Any]) -> Iterator[Problem]:
    annotations = content.get("annotations") or ()
    if not annotations:
        return
    used = {entry.get("category_id") for entry in annotations}
    unused = [category["name"] for category in content.get("categories") or () if category.get("id") not in used]
    if unused:
        yield Problem("unused category", "categories", ", ".join(unused), is_error=False)
    labelled = {entry.get("video_id") for entry in annotations}
    empty = sum(video.get("id") not in labelled for video in content["videos"])
    if empty:
        yield Problem("unlabelled video", "videos", f"{empty} without annotations; training skips them", is_error=False)
