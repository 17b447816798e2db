"""Label Studio: tasks of pictures with brushes, tasks of videos with boxes and key frames, and interfaces for them.

Addresses are those of Label Studio's local storage, ``/data/local-files/?d=...``, below the folder that is served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from mindvideo.data.exporters.tracked_video import Track, TrackedVideo, categories_of, runs_of_places
from mindvideo.data.exporters.xml_text import attribute
from mindvideo.data.media.video_frames import parse_video_frame
from mindvideo.masks.packed_runs import pack_mask
from mindvideo.masks.rle import decode_mask, mask_box

_SERVED = "/data/local-files/?d="
_PERCENT = 100.0


def brush_tasks(video: TrackedVideo, pictures: Sequence[str], *, served_in: str) -> list[dict[str, Any]]:
    """A task for each frame. ``pictures``: names in the folder ``served_in``, a path below the one that is served.

    A brush has the number of its track in the field "track", by which its object is known in the next frames.
    """
    tasks = []
    for place, (number, picture) in enumerate(zip(video.numbers, pictures)):
        regions = [part for track, mask in video.at(place) for part in _brush(video, place, track, mask)]
        data = {"image": address(served_in, picture), "video": video.name, "frame": int(number)}
        tasks.append({"data": data, **_answer(video, regions)})
    return tasks


def _brush(video: TrackedVideo, place: int, track: Track, mask: Mapping[str, Any]) -> list[dict[str, Any]]:
    H, W = video.size
    common = {
        "id": f"track{track.id}-frame{place}",
        "to_name": "image",
        "original_width": W,
        "original_height": H,
        "image_rotation": 0,
        **({} if track.score is None else {"score": track.score}),
    }
    runs = {"format": "rle", "rle": pack_mask(decode_mask(mask))}
    label = {"type": "brushlabels", "from_name": "label", "value": {**runs, "brushlabels": [track.category]}}
    number = {"type": "number", "from_name": "track", "value": {"number": track.id}}
    return [{**common, **label}, {**common, **number}]


def box_task(video: TrackedVideo, *, tolerance: float) -> dict[str, Any] | None:
    """The task of a video file: boxes with key frames, between which Label Studio moves them. None for pictures.

    ``tolerance``: by how many pixels a side of a box may be off between key frames.
    """
    file = parse_video_frame(video.file_names[0])
    if file is None:
        return None
    results = [_box_track(video, track, tolerance) for track in video.tracks if track.masks]
    return {"data": {"video": address("", file[0])}, **_answer(video, results)}


def _box_track(video: TrackedVideo, track: Track, tolerance: float) -> dict[str, Any]:
    last_number = int(video.numbers[-1]) + 1
    sequence = [
        {**_shares(box, video.size), "frame": number + 1, "enabled": goes_on, "rotation": 0,
         "time": number / video.frames_per_second}
        for number, box, goes_on in key_frames(video, track, tolerance)
    ]  # fmt: skip
    return {
        "id": f"track{track.id}",
        "type": "videorectangle",
        "from_name": "box",
        "to_name": "video",
        "meta": {"text": [f"track {track.id}"]},
        **({} if track.score is None else {"score": track.score}),
        "value": {
            "framesCount": last_number,
            "duration": last_number / video.frames_per_second,
            "sequence": sequence,
            "labels": [track.category],
        },
    }


def key_frames(video: TrackedVideo, track: Track, tolerance: float) -> list[tuple[int, list[float], bool]]:
    """Number of the frame, box x y width height, and whether the object is still there after it."""
    found = []
    for first, last in runs_of_places(track.masks):
        places = range(first, last + 1)
        numbers = np.array([video.numbers[place] for place in places])
        boxes = np.array([mask_box(track.masks[place]) for place in places])
        for index in sorted(_kept(numbers, boxes, tolerance)):
            found.append((int(numbers[index]), boxes[index].tolist(), index < len(places) - 1))
    return found


def _kept(numbers: np.ndarray, boxes: np.ndarray, tolerance: float) -> set[int]:
    """Indices without which a straight line between the kept ones would be off by more than the tolerance."""
    kept, pending = {0, len(numbers) - 1}, [(0, len(numbers) - 1)]
    while pending:
        first, last = pending.pop()
        if last - first < 2:
            continue
        share = (numbers[first : last + 1] - numbers[first]) / (numbers[last] - numbers[first])
        line = boxes[first] + share[:, None] * (boxes[last] - boxes[first])
        off = np.abs(line - boxes[first : last + 1]).max(axis=1)
        worst = int(off.argmax())
        if off[worst] > tolerance:
            kept.add(first + worst)
            pending += [(first, first + worst), (first + worst, last)]
    return kept


def _shares(box: Sequence[float], size: tuple[int, int]) -> dict[str, float]:
    """In hundredths of the frame's sides."""
    H, W = size
    x, y, width, height = box
    return {
        "x": _PERCENT * x / W,
        "y": _PERCENT * y / H,
        "width": _PERCENT * width / W,
        "height": _PERCENT * height / H,
    }


def _answer(video: TrackedVideo, results: list[dict[str, Any]]) -> dict[str, Any]:
    """Labels are annotations; results are predictions, which wait for somebody to accept or correct them."""
    if all(track.score is None for track in video.tracks):
        return {"annotations": [{"result": results}]}
    return {"predictions": [{"model_version": "mindvideo", "result": results}]}


def address(served_in: str, name: str) -> str:
    return _SERVED + quote(f"{served_in}/{name}".lstrip("/"))


def brush_interface(video: TrackedVideo) -> str:
    """The labelling interface for ``brush_tasks``."""
    return (
        '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        f'  <BrushLabels name="label" toName="image">{_labels(video)}\n  </BrushLabels>\n'
        '  <Number name="track" toName="image" perRegion="true" min="1"/>\n</View>\n'
    )


def box_interface(video: TrackedVideo) -> str:
    """The labelling interface for ``box_task``."""
    rate = f"{video.frames_per_second:g}"
    return (
        f'<View>\n  <Video name="video" value="$video" framerate="{rate}"/>\n'
        f'  <VideoRectangle name="box" toName="video"/>\n  <Labels name="label" toName="video">{_labels(video)}\n'
        "  </Labels>\n</View>\n"
    )


def _labels(video: TrackedVideo) -> str:
    return "".join(f"\n    <Label value={attribute(name)}/>" for name in categories_of([video]).values())
