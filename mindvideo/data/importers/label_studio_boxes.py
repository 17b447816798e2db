"""Boxes of a video in Label Studio: key frames, between which a box moves in a straight line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mindvideo.data.importers.builder import TrackBuilder, VisBuilder, relative_name
from mindvideo.data.importers.fields import dictionary, entries, string, whole
from mindvideo.data.importers.label_studio_regions import number, share_values, turned_box
from mindvideo.data.media.broken_frame import BrokenFrameError
from mindvideo.data.media.video_frames import VideoFrames, video_frame_name
from mindvideo.errors import UserError

_KEYS = ("x", "y", "width", "height")


def add_box_tracks(builder: VisBuilder, results: Sequence[Mapping[str, Any]], video: Path, frames: Path) -> None:
    """All frames of the file ``video``; its name is that below ``frames``."""
    reader = VideoFrames()
    try:
        total, size = reader.num_frames(video), reader.size(video)
    except BrokenFrameError as error:
        raise UserError(str(error)) from error
    tracks = []
    for place, result in enumerate(results):
        if result.get("type") == "videorectangle":
            value = dictionary(result.get("value"), f"result[{place}].value")
            tracks.append(_read_track(value, f"result[{place}]", total, size))
    name = relative_name(video, frames)
    builder.add_video([video_frame_name(name, frame) for frame in range(total)], size, tracks)


def _read_track(value: Mapping[str, Any], where: str, total: int, size: tuple[int, int]) -> TrackBuilder:
    labels = value.get("labels")
    if not isinstance(labels, list) or len(labels) != 1:
        raise ValueError(f"{where} has the labels {labels!r}; one is needed")
    track = TrackBuilder(string(labels[0], f"{where}.labels"))
    sequence = entries(dict(value), "sequence")
    keys: dict[int, tuple[list[float], bool]] = {}
    for place, entry in enumerate(sequence):
        frame = whole(entry.get("frame"), f"{where}.sequence[{place}].frame", minimum=1) - 1
        box = [*share_values(entry, _KEYS, size), number(entry.get("rotation", 0), "rotation")]
        keys[frame] = (box, entry.get("enabled", True) is True)
    for frame, box in _every_frame(keys, total).items():
        x, y, width, height, degrees = box
        track.add(frame, turned_box(x, y, width, height, degrees, size))
    return track


def _every_frame(keys: Mapping[int, tuple[list[float], bool]], total: int) -> dict[int, list[float]]:
    """A key frame that is not enabled is the last one before a gap. After the last key frame a box stands still."""
    boxes: dict[int, list[float]] = {}
    starts = sorted(keys)
    for start, end in zip(starts, [*starts[1:], total]):
        box, goes_on = keys[start]
        following = keys[end][0] if end in keys else box
        for frame in range(start, min(end, total) if goes_on else min(start + 1, total)):
            share = (frame - start) / (end - start)
            boxes[frame] = [(1 - share) * here + share * there for here, there in zip(box, following)]
    return boxes
