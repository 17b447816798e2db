"""COCO: every frame an image, every mask an annotation with the number of its track."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mindvideo.data.exporters.tracked_video import TrackedVideo, categories_of
from mindvideo.masks.rle import mask_area, mask_box


def coco_content(videos: Sequence[TrackedVideo], *, names: Mapping[int, str] | None = None) -> dict[str, Any]:
    """Images carry ``video_id`` and ``frame_id``, as COCO files of videos do; annotations ``track_id`` and ``score``.

    ``names``: of classes, also those that no track has.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for video_id, video in enumerate(videos, start=1):
        H, W = video.size
        first = len(images) + 1
        for place, (number, name) in enumerate(zip(video.numbers, video.file_names)):
            numbering = {"video_id": video_id, "frame_id": place, "frame_index": number}
            images.append({"id": first + place, "file_name": name, **numbering, "height": H, "width": W})
        for track in video.tracks:
            for place, mask in track.masks.items():
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": first + place,
                        "category_id": track.category_id,
                        "track_id": track.id,
                        **({} if track.score is None else {"score": track.score}),
                        "segmentation": mask,
                        "bbox": mask_box(mask),
                        "area": mask_area(mask),
                        "iscrowd": 0,
                    }
                )
    return {
        "videos": [{"id": number, "name": video.name} for number, video in enumerate(videos, start=1)],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in categories_of(videos, names).items()],
    }
