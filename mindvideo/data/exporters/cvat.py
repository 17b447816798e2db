"""CVAT for video 1.1: an XML file whose tracks are polygons, which can be corrected there.

CVAT keeps no tracks of masks (of each it imports the first frame only), so an object is one polygon a frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mindvideo.data.exporters.outlines import mask_outline
from mindvideo.data.exporters.tracked_video import Track, TrackedVideo, categories_of, runs_of_places
from mindvideo.data.exporters.xml_text import attribute, content
from mindvideo.data.media.video_frames import parse_video_frame


def cvat_xml(video: TrackedVideo, *, tolerance: float) -> str:
    """The file of a task whose frames are those of ``video``; CVAT's upload takes it as "CVAT 1.1".

    ``tolerance``: by how many pixels an outline may be off. Every frame with a mask is a key frame.
    """
    return "\n".join(_lines(video, tolerance)) + "\n"


def _lines(video: TrackedVideo, tolerance: float) -> Iterator[str]:
    numbers = frame_numbers(video.numbers)
    H, W = video.size
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    source = (parse_video_frame(video.file_names[0]) or ("", 0))[0]
    yield '<?xml version="1.0" encoding="utf-8"?>'
    yield "<annotations><version>1.1</version><meta><task>"
    yield f"<name>{content(video.name)}</name><size>{video.num_frames}</size><mode>interpolation</mode>"
    yield f"<start_frame>{numbers[0]}</start_frame><stop_frame>{numbers[-1]}</stop_frame>"
    yield f"<frame_filter>{f'step={step}' if step > 1 else ''}</frame_filter><labels>"
    for name in categories_of([video]).values():
        yield f"<label><name>{content(name)}</name><type>any</type><attributes></attributes></label>"
    yield "</labels>"
    yield f"<original_size><width>{W}</width><height>{H}</height></original_size>"
    yield f"<source>{content(source)}</source></task></meta>"
    for track in video.tracks:
        kind = "manual" if track.score is None else "auto"
        yield f'<track id="{track.id}" label={attribute(track.category)} source="{kind}">'
        yield from _shapes(track, numbers, tolerance)
        yield "</track>"
    yield "</annotations>"


def _shapes(track: Track, numbers: Sequence[int], tolerance: float) -> Iterator[str]:
    for first, last in runs_of_places(track.masks):
        outline = np.zeros((0, 2), int)
        for place in range(first, last + 1):
            outline = mask_outline(track.masks[place], tolerance)
            yield _polygon(numbers[place], outline, is_outside=False)
        if last + 1 < len(numbers):
            yield _polygon(numbers[last + 1], outline, is_outside=True)  # else the last shape would stand on


def _polygon(number: int, outline: np.ndarray, *, is_outside: bool) -> str:
    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in outline)
    return (
        f'<polygon frame="{number}" keyframe="1" outside="{int(is_outside)}" occluded="0" points="{points}" '
        'z_order="0"></polygon>'
    )


def frame_numbers(numbers: Sequence[int]) -> Sequence[int]:
    """CVAT's numbers of the frames: their own where they go in equal steps, as a task's do; else 0, 1, ..."""
    steps = set(np.diff(numbers).tolist())
    return numbers if len(steps) <= 1 and min(steps, default=1) > 0 else range(len(numbers))
