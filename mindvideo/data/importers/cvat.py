"""CVAT for video 1.1: an XML file of tracks."""

from __future__ import annotations

import dataclasses
import logging
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from mindvideo.data.importers.builder import TrackBuilder, VisBuilder, relative_name
from mindvideo.data.importers.fields import naming, number_in, string, whole_in
from mindvideo.data.importers.pictures import pictures_below, require_size
from mindvideo.data.importers.shapes import box_mask, ellipse_mask, mask_of_runs, polygon_mask
from mindvideo.data.media.broken_frame import BrokenFrameError
from mindvideo.data.media.video_frames import VideoFrames, video_frame_name
from mindvideo.errors import UserError

_log = logging.getLogger("mindvideo.data")
_NUMBERS = {"box": ("xtl", "ytl", "xbr", "ybr"), "ellipse": ("cx", "cy", "rx", "ry")}


@dataclasses.dataclass(frozen=True)
class _Shape:
    """A shape of a track in one frame.

    ``numbers`` (its corners or points, in a row) and ``rotation`` (degrees, clockwise) can be interpolated.
    """

    kind: str
    outside: bool
    numbers: tuple[float, ...]
    rotation: float
    element: ElementTree.Element


def convert_cvat_video(
    file: str | Path,
    frames: str | Path | None = None,
    *,
    video: str | Path | None = None,
    categories: list[str] | None = None,
) -> dict[str, Any]:
    """YouTube-VIS content of one exported video.

    Its frames are the pictures of the folder ``frames``, in natural order; or those of the file ``video`` that the task
    took, named relative to ``frames`` or else to the folder of the file.
    """
    file = Path(file)
    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as error:  # the latter two: unknown encodings
        raise UserError(f"{file}: not a readable XML file ({error})") from error
    if root.tag != "annotations" or root.find("track") is None:
        raise UserError(f"{file}: no tracks; export the task as 'CVAT for video 1.1' and draw tracks, not shapes")
    _refuse_project(root, file)
    with naming(file):
        size, numbering = _frame_size(root), _numbering(root)
    if video is not None:
        names = _names_in_video(Path(video), Path(video).parent if frames is None else Path(frames), numbering, size)
    elif frames is not None:
        names = _names_of_pictures(Path(frames), size, file)
    else:
        raise UserError(f"{file}: the pictures of the task are needed, or its video")
    tracks = [_read_track(track, len(names), numbering, size, file) for track in root.iter("track")]
    _tell_of_unlabelled_frames(file, tracks, len(names))
    builder = VisBuilder(categories=categories)
    builder.add_video(names, size, _joined(root, [track for track, _ in tracks]))
    return builder.content()


def _joined(root: ElementTree.Element, tracks: list[TrackBuilder]) -> list[TrackBuilder]:
    """Masks that were drawn with the brush: CVAT keeps each as a track of one frame, and objects as groups of them."""
    objects: dict[Any, TrackBuilder] = {}
    for place, (element, track) in enumerate(zip(root.iter("track"), tracks)):
        group = element.get("group_id", "0")
        is_drawn = group != "0" and all(child.tag == "mask" for child in element)
        first = objects.setdefault((track.category, group) if is_drawn else place, track)
        if first is not track:
            for frame, rle in track.masks.items():
                first.add_rle(frame, rle)
    return list(objects.values())


def _tell_of_unlabelled_frames(file: Path, tracks: list[tuple[TrackBuilder, int]], length: int) -> None:
    """Say what becomes of the frames that nobody labelled: ``tracks`` with the last frame in which each was drawn."""
    held = {frame for track, last in tracks for frame in track.masks if frame > last}
    if held:
        _log.warning(
            "%s: shapes stand still in %d of %d frames, those after the last one drawn of a track that does not end; "
            "end the track (outside) where its object leaves, or export only the labelled frames",
            *(file, len(held), length),
        )
    shown = {frame for track, _ in tracks for frame in track.masks}
    if len(shown) < length:
        _log.warning(
            "%s: %d of %d frames show a labelled object; the other %d count as frames without any, and training learns "
            "that; export only the labelled frames (a job with its start and stop frame) to leave them out",
            *(file, len(shown), length, length - len(shown)),
        )


def _refuse_project(root: ElementTree.Element, file: Path) -> None:
    """A project's tasks number their frames each from its own start, and the tracks of all of them are in one list."""
    tasks = {track.get("task_id") for track in root.iter("track")}
    if root.find("meta/project") is not None or len(tasks) > 1:
        raise UserError(
            f"{file}: an export of a project, whose tasks are videos of their own; export each task by itself"
        )


def _names_of_pictures(frames: Path, size: tuple[int, int], file: Path) -> list[str]:
    pictures = pictures_below(frames)
    for picture in pictures:
        require_size(picture, size, labels=file)
    return [relative_name(picture, frames) for picture in pictures]


def _names_in_video(video: Path, frames: Path, numbering: range, size: tuple[int, int]) -> list[str]:
    """The task's frames of the video file; its numbers are those of the file."""
    if not video.resolve().is_relative_to(frames.resolve()):
        raise UserError(f"--video {video} is not below --frames {frames}, so no name leads from there to it")
    videos = VideoFrames()
    try:
        total, found = videos.num_frames(video), videos.size(video)
    except BrokenFrameError as error:
        raise UserError(str(error)) from error
    if found != size:
        raise UserError(f"{video} is {found[0]} x {found[1]} (height x width), labelled as {size[0]} x {size[1]}")
    name = relative_name(video.resolve(), frames.resolve())
    return [video_frame_name(name, number) for number in numbering[:total] if number < total]


def _numbering(root: ElementTree.Element) -> range:
    """CVAT's frame numbers in order: those of the source video, from the task's first frame in its steps."""
    task = root.find("meta/task")
    task = task if task is not None else root.find("meta/job")
    first, last, step_filter = (
        (task.findtext(name) or "" if task is not None else "")
        for name in ("start_frame", "stop_frame", "frame_filter")
    )
    step = step_filter.partition("step=")[2]
    return range(
        whole_in(first, "start_frame") if first else 0,
        whole_in(last, "stop_frame") + 1 if last else sys.maxsize,
        whole_in(step, "frame_filter step", minimum=1) if step else 1,
    )


def _frame_size(root: ElementTree.Element) -> tuple[int, int]:
    for place in root.iter("original_size"):
        height, width = (
            whole_in(place.findtext(side), f"original_size {side}", minimum=1) for side in ("height", "width")
        )
        return height, width
    raise ValueError("no original_size in its meta data")


def _read_track(
    element: ElementTree.Element, length: int, numbering: range, size: tuple[int, int], file: Path
) -> tuple[TrackBuilder, int]:
    """A track and the last frame in which somebody drew it: CVAT fills the frames after that with copies."""
    where = f"{file}: track {element.get('id')}"
    with naming(where):
        track = TrackBuilder(string(element.get("label"), "label"))
    listed: dict[int, _Shape] = {}
    last_drawn = -1
    for child in element:
        with naming(f"{where}, a {child.tag}"):
            number = whole_in(child.get("frame"), "frame")
        if number not in numbering or numbering.index(number) >= length:
            raise UserError(f"{where} has a shape in frame {number}, which is none of the {length} frames")
        with naming(f"{where}, frame {number}"):
            listed[numbering.index(number)] = _read_shape(child)
        if child.get("keyframe") != "0":
            last_drawn = max(last_drawn, numbering.index(number))
    for frame, shape in _every_frame(listed, length).items():
        with naming(f"{where}, frame {numbering[frame]}"):
            track.add(frame, _mask(shape, size))
    return track, last_drawn


def _read_shape(element: ElementTree.Element) -> _Shape:
    kind = element.tag
    numbers: tuple[float, ...] = ()
    if kind in _NUMBERS:
        numbers = tuple(number_in(element.get(name), name) for name in _NUMBERS[kind])
    elif kind == "polygon":
        points = string(element.get("points"), "points").split(";")
        numbers = tuple(number for point in points for number in _pair(point))
    rotation = number_in(element.get("rotation") or "0", "rotation")
    return _Shape(kind, element.get("outside") == "1", numbers, rotation, element)


def _pair(point: str) -> tuple[float, float]:
    x, comma, y = point.partition(",")
    if not comma:
        raise ValueError(f"'points' has '{point}'; x,y pairs with semicolons between them are needed")
    return number_in(x, "points"), number_in(y, "points")


def _every_frame(listed: dict[int, _Shape], length: int) -> dict[int, _Shape]:
    """The shapes that are inside the picture, with the frames between two listed ones filled in.

    CVAT itself lists every frame; files that were thinned to key frames are interpolated where both ends have the
    same points, and otherwise the earlier shape stands until the next.
    """
    shapes: dict[int, _Shape] = {}
    starts = sorted(listed)
    for start, end in zip(starts, [*starts[1:], length]):
        shape, following = listed[start], listed.get(end)
        if shape.outside:
            continue
        for frame in range(start, end):
            part = (frame - start) / (end - start)
            shapes[frame] = _between(shape, following, part)
    return shapes


def _between(shape: _Shape, following: _Shape | None, part: float) -> _Shape:
    if part == 0 or following is None or following.outside or len(following.numbers) != len(shape.numbers):
        return shape
    mixed = (1 - part) * np.array(shape.numbers) + part * np.array(following.numbers)
    shorter_way = (following.rotation - shape.rotation + 180) % 360 - 180
    return dataclasses.replace(shape, numbers=tuple(mixed), rotation=shape.rotation + part * shorter_way)


def _mask(shape: _Shape, size: tuple[int, int]) -> np.ndarray:
    if shape.kind == "box":
        left, top, right, bottom = shape.numbers
        return box_mask(left, top, right, bottom, size, degrees=shape.rotation)
    if shape.kind == "ellipse":
        x, y, across, along = shape.numbers
        return ellipse_mask((x, y), (across, along), size, degrees=shape.rotation)
    if shape.kind == "polygon":
        return polygon_mask(np.array(shape.numbers).reshape(-1, 2), size)
    if shape.kind == "mask":
        left, top, width, height = (
            int(number_in(shape.element.get(name), name)) for name in ("left", "top", "width", "height")
        )
        runs = [whole_in(run, "rle") for run in string(shape.element.get("rle"), "rle").split(",")]
        return mask_of_runs(runs, (left, top, width, height), size)
    raise ValueError(f"a {shape.kind} has no area; box, polygon, ellipse or mask is needed")
