"""The result of a video as a COCO file: every frame an image, every mask an annotation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mindvideo.data.media.video_frames import video_frame_name
from mindvideo.inference.output.draw import name_of_class
from mindvideo.masks.rle import mask_area, mask_box
from mindvideo.structures import Frame, VideoInstances

_FRAME_OF_VIDEO = re.compile(r"(.+), frame (\d+)")


def frame_name(frame: Frame) -> str:
    """The picture's file, or ``clip.mp4#12`` for a frame of a video file or stream."""
    place = _FRAME_OF_VIDEO.fullmatch(frame.source)
    return video_frame_name(Path(place[1]).name, int(place[2])) if place else Path(frame.source).name


def coco_export(result: VideoInstances, frames: Sequence[tuple[int, str]], class_names: Mapping[int, str]) -> dict:
    """``frames``: index and name of each. Annotations carry the ``track_id`` and ``score`` of their track."""
    H, W = result.size
    images = [
        {"id": place, "file_name": name, "frame_index": index, "height": H, "width": W}
        for place, (index, name) in enumerate(frames, start=1)
    ]
    annotations: list[dict] = []
    tracks = zip(result.track_ids.tolist(), result.labels.tolist(), result.scores.tolist(), result.segmentations)
    for track_id, label, score, segmentations in tracks:
        for place, segmentation in enumerate(segmentations, start=1):
            if segmentation is None or not (area := mask_area(segmentation)):
                continue
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": place,
                    "category_id": label,
                    "track_id": track_id,
                    "score": score,
                    "segmentation": segmentation,
                    "bbox": mask_box(segmentation),
                    "area": area,
                    "iscrowd": 0,
                }
            )
    return {"images": images, "annotations": annotations, "categories": _categories(result, class_names)}


def _categories(result: VideoInstances, class_names: Mapping[int, str]) -> list[Mapping[str, int | str]]:
    used = set(result.labels.tolist()) | set(class_names)
    return [{"id": label, "name": name_of_class(class_names, label)} for label in sorted(used)]
