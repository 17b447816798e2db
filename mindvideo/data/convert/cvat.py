"""CVAT for video 1.1: an XML file of tracks."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from mindvideo.data.broken_frame import BrokenFrameError
from mindvideo.data.convert.builder import TrackBuilder, VisBuilder, relative_name
from mindvideo.data.convert.shapes import box_mask, ellipse_mask, mask_of_runs, polygon_mask
from mindvideo.data.images import is_image, natural_order
from mindvideo.data.video_frames import VideoFrames, video_frame_name
from mindvideo.errors import UserError


@dataclasses.dataclass(frozen=True)
class _Shape:
    """A shape of a track in one frame. ``numbers``: its corners or points, in a row; they can be interpolated."""

    kind: str
    outside: bool
    numbers: tuple[float, ...]
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
    except (ElementTree.ParseError, OSError) as error:
        raise UserError(f"{file}: not a readable XML file ({error})") from error
    if root.tag != "annotations" or root.find("track") is None:
        raise UserError(f"{file}: no tracks; export the task as 'CVAT for video 1.1' and draw tracks, not shapes")
    size, numbering = _frame_size(root, file), _numbering(root)
    if video is not None:
        names = _names_in_video(Path(video), Path(video).parent if frames is None else Path(frames), numbering, size)
    else:
        names = [relative_name(path, Path(frames)) for path in natural_order(Path(frames).rglob("*")) if is_image(path)]
    tracks = [_read_track(track, len(names), numbering, size, file) for track in root.iter("track")]
    builder = VisBuilder(categories=categories)
    builder.add_video(names, size, tracks)
    return builder.content()


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
    last = (task.findtext("stop_frame") or "") if task is not None else ""
    first = int(task.findtext("start_frame") or 0) if task is not None else 0
    step_filter = (task.findtext("frame_filter") or "") if task is not None else ""
    return range(first, int(last) + 1 if last else sys.maxsize, int(step_filter.partition("step=")[2] or 1))


def _frame_size(root: ElementTree.Element, file: Path) -> tuple[int, int]:
    for place in root.iter("original_size"):
        return int(place.findtext("height")), int(place.findtext("width"))
    raise UserError(f"{file}: no original_size in its meta data")


def _read_track(
    element: ElementTree.Element, length: int, numbering: range, size: tuple[int, int], file: Path
) -> TrackBuilder:
    track, where = TrackBuilder(element.get("label")), f"{file}: track {element.get('id')}"
    listed: dict[int, _Shape] = {}
    for child in element:
        number = int(child.get("frame"))
        if number not in numbering or numbering.index(number) >= length:
            raise UserError(f"{where} has a shape in frame {number}, which is none of the {length} frames")
        listed[numbering.index(number)] = _read_shape(child)
    for frame, shape in _every_frame(listed, length).items():
        try:
            track.add(frame, _mask(shape, size))
        except ValueError as error:
            raise UserError(f"{where}, frame {numbering[frame]}: {error}") from error
    return track


def _read_shape(element: ElementTree.Element) -> _Shape:
    kind = element.tag
    if kind == "box":
        texts = [element.get(name) for name in ("xtl", "ytl", "xbr", "ybr")]
    elif kind == "ellipse":
        texts = [element.get(name) for name in ("cx", "cy", "rx", "ry")]
    elif kind == "polygon":
        texts = [text for point in element.get("points").split(";") for text in point.split(",")]
    else:
        texts = []
    return _Shape(kind, element.get("outside") == "1", tuple(map(float, texts)), element)


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
    return dataclasses.replace(shape, numbers=tuple(mixed))


def _mask(shape: _Shape, size: tuple[int, int]) -> np.ndarray:
    if shape.kind == "box":
        return box_mask(*shape.numbers, size)
    if shape.kind == "ellipse":
        x, y, across, along = shape.numbers
        return ellipse_mask((x, y), (across, along), size, float(shape.element.get("rotation") or 0))
    if shape.kind == "polygon":
        return polygon_mask(np.array(shape.numbers).reshape(-1, 2).tolist(), size)
    if shape.kind == "mask":
        place = tuple(int(float(shape.element.get(name))) for name in ("left", "top", "width", "height"))
        runs = [int(text) for text in shape.element.get("rle").split(",")]
        return mask_of_runs(runs, place, size)
    raise ValueError(f"a {shape.kind} has no area; box, polygon, ellipse or mask is needed")
