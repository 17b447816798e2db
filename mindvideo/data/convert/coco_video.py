"""COCO files whose images are frames of videos: COCO-video (CocoVID) and CVAT's COCO export of a video."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from mindvideo.data.annotations import read_json
from mindvideo.data.convert.builder import TrackBuilder, VisBuilder
from mindvideo.data.images import natural_key
from mindvideo.data.segmentation import to_rle
from mindvideo.errors import UserError


def convert_coco_video(file: str | Path) -> dict[str, Any]:
    """YouTube-VIS content of a COCO file.

    An image's video is its ``video_id``, else the folder of its file name; frames go by ``frame_id``, else by name.
    An annotation's track is its ``instance_id`` or ``track_id``, also inside ``attributes`` (CVAT writes it there).
    """
    content = read_json(Path(file))
    if not isinstance(content, dict) or "images" not in content or "annotations" not in content:
        raise UserError(f"{file}: no 'images' and 'annotations' lists, so not a COCO file")
    names = {category["id"]: category["name"] for category in content["categories"]}
    ordered = [names[number] for number in sorted(names)]
    builder = VisBuilder(categories=ordered)
    of_image: dict[Any, list[dict[str, Any]]] = {}
    for entry in content["annotations"]:
        of_image.setdefault(entry["image_id"], []).append(entry)
    for images in _videos(content["images"]).values():
        size = (images[0]["height"], images[0]["width"])
        tracks: dict[Any, TrackBuilder] = {}
        for frame, image in enumerate(images):
            if (image["height"], image["width"]) != size:
                raise UserError(f"{file}: image {image['id']} differs in size from the first of its video")
            for entry in of_image.pop(image["id"], ()):
                _add(tracks, frame, entry, names, size, file)
        builder.add_video([image["file_name"] for image in images], size, list(tracks.values()))
    if of_image:
        raise UserError(f"{file}: annotations of images that are not listed: {sorted(of_image)[:5]}")
    return builder.content()


def _videos(images: list[dict[str, Any]]) -> dict[Any, list[dict[str, Any]]]:
    videos: dict[Any, list[dict[str, Any]]] = {}
    for image in images:
        folder = PurePosixPath(image["file_name"]).parent.as_posix()
        videos.setdefault(image.get("video_id", folder), []).append(image)
    for members in videos.values():
        members.sort(key=lambda image: (image.get("frame_id", 0), natural_key(image["file_name"])))
    return videos


def _add(
    tracks: dict[Any, TrackBuilder],
    frame: int,
    entry: dict[str, Any],
    names: dict[int, str],
    size: tuple[int, int],
    file: str | Path,
) -> None:
    track_id = track_of(entry)
    if track_id is None:
        raise UserError(
            f"{file}: annotation {entry['id']} has no instance_id or track_id, so nothing says which object it is "
            "through the video; in CVAT draw tracks, not shapes"
        )
    try:
        rle = to_rle(entry["segmentation"], *size)
    except (KeyError, ValueError) as error:
        raise UserError(f"{file}: annotation {entry['id']}: {error}") from error
    category = names[entry["category_id"]]
    track = tracks.setdefault(track_id, TrackBuilder(category, is_crowd=_is_crowd(entry)))
    if track.category != category:
        raise UserError(f"{file}: track {track_id} is both {track.category} and {category} (annotation {entry['id']})")
    track.add_rle(frame, rle)


def _is_crowd(entry: dict[str, Any]) -> bool:
    """CVAT sets iscrowd for every mask stored as uncompressed RLE, where it says nothing about crowds."""
    return bool(entry.get("iscrowd", 0)) and "attributes" not in entry


def track_of(entry: dict[str, Any]) -> Any:
    for place in (entry, entry.get("attributes") or {}):
        for key in ("instance_id", "track_id"):
            if place.get(key) is not None:
                return place[key]
    return None
