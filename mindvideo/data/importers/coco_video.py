"""COCO files whose images are frames of videos: COCO-video (CocoVID) and CVAT's COCO export of a video."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mindvideo.data.importers.builder import TrackBuilder, VisBuilder
from mindvideo.data.importers.coco_shapes import entry_rle
from mindvideo.data.importers.fields import dictionary, entries, identifier, naming, string, whole
from mindvideo.data.importers.pictures import require_size
from mindvideo.data.labels.reading import read_json
from mindvideo.data.media.images import natural_key
from mindvideo.errors import UserError


@dataclasses.dataclass(frozen=True)
class _Image:
    """An entry of ``images``. ``number``: its place in the video, None where the file names tell it."""

    id: str | int
    video: str | int
    number: int | None
    file_name: str
    size: tuple[int, int]


def convert_coco_video(file: str | Path, frames: str | Path | None = None) -> dict[str, Any]:
    """YouTube-VIS content of a COCO file.

    An image's video is its ``video_id``, else the folder of its file name; frames go by ``frame_id``, else by name.
    An annotation's track is its ``instance_id`` or ``track_id``, also inside ``attributes`` (CVAT writes it there). Its
    mask is the segmentation, or the bbox where there is none. Given ``frames``, the folder of the pictures, their sizes
    are held against the file.
    """
    content = read_json(Path(file))
    if not isinstance(content, dict) or "images" not in content or "annotations" not in content:
        raise UserError(f"{file}: no 'images' and 'annotations' lists, so not a COCO file")
    with naming(file):
        names = _category_names(content)
        images = [_read_image(entry, f"images[{place}]") for place, entry in enumerate(entries(content, "images"))]
        of_image = _by_image(content, {image.id for image in images}, file)
        videos = _videos(images)
    builder = VisBuilder(categories=[names[number] for number in sorted(names)], listed_in=f"{file}: categories")
    for members in videos:
        if frames is not None:
            for image in members:
                require_size(Path(frames) / image.file_name, image.size, labels=file)
        tracks: dict[Any, TrackBuilder] = {}
        for frame, image in enumerate(members):
            for where, entry in of_image.get(image.id, ()):
                with naming(f"{file}: {where}"):
                    _add(tracks, frame, entry, names, image.size)
        builder.add_video([image.file_name for image in members], members[0].size, list(tracks.values()))
    return builder.content()


def _category_names(content: dict[str, Any]) -> dict[int, str]:
    names: dict[int, str] = {}
    for place, entry in enumerate(entries(content, "categories")):
        number = whole(entry.get("id"), f"categories[{place}].id")
        if number in names:
            raise ValueError(f"categories[{place}]: id {number} is there already; each category needs its own")
        names[number] = string(entry.get("name"), f"categories[{place}].name")
    return names


def _read_image(entry: dict[str, Any], where: str) -> _Image:
    file_name = string(entry.get("file_name"), f"{where}.file_name")
    folder = PurePosixPath(file_name).parent.as_posix()
    video, number = entry.get("video_id"), entry.get("frame_id")
    return _Image(
        id=identifier(entry.get("id"), f"{where}.id"),
        video=folder if video is None else identifier(video, f"{where}.video_id"),
        number=None if number is None else whole(number, f"{where}.frame_id"),
        file_name=file_name,
        size=(
            whole(entry.get("height"), f"{where}.height", minimum=1),
            whole(entry.get("width"), f"{where}.width", minimum=1),
        ),
    )


def _by_image(
    content: dict[str, Any], images: set[str | int], file: str | Path
) -> dict[str | int, list[tuple[str, dict[str, Any]]]]:
    """The annotations of each image, each with its name for messages; ``null`` says that there are none."""
    of_image: dict[str | int, list[tuple[str, dict[str, Any]]]] = {}
    for place, entry in enumerate(entries(content, "annotations") if content["annotations"] is not None else ()):
        where = f"annotation {entry['id']}" if "id" in entry else f"annotations[{place}]"
        with naming(f"{file}: {where}"):
            image = identifier(entry.get("image_id"), "image_id")
            if image not in images:
                raise ValueError(f"its image {image} is not listed in 'images'")
        of_image.setdefault(image, []).append((where, entry))
    return of_image


def _videos(images: Sequence[_Image]) -> list[list[_Image]]:
    videos: dict[str | int, list[_Image]] = {}
    known: set[str | int] = set()
    for image in images:
        if image.id in known:
            raise ValueError(f"two images have the id {image.id}; each image needs its own")
        known.add(image.id)
        videos.setdefault(image.video, []).append(image)
    for members in videos.values():
        _check_alike(members)
        members.sort(key=lambda image: (image.number or 0, natural_key(image.file_name)))
    return list(videos.values())


def _check_alike(members: Sequence[_Image]) -> None:
    first = members[0]
    for image in members:
        if image.size != first.size:
            raise ValueError(f"image {image.id} differs in size from the first of its video")
        if (image.number is None) != (first.number is None):
            raise ValueError(f"images {first.id} and {image.id} of one video: one has a frame_id, the other has none")


def _add(
    tracks: dict[Any, TrackBuilder], frame: int, entry: dict[str, Any], names: dict[int, str], size: tuple[int, int]
) -> None:
    track_id = track_of(entry)
    if track_id is None:
        raise ValueError(
            "no instance_id or track_id, so nothing says which object it is through the video; in CVAT draw "
            "tracks, not shapes"
        )
    number = whole(entry.get("category_id"), "category_id")
    if number not in names:
        raise ValueError(f"category_id {number} is not listed in 'categories'")
    track = tracks.setdefault(track_id, TrackBuilder(names[number], is_crowd=_is_crowd(entry)))
    if track.category != names[number]:
        raise ValueError(f"track {track_id} is both {track.category} and {names[number]}")
    track.add_rle(frame, entry_rle(entry, size))


def _is_crowd(entry: dict[str, Any]) -> bool:
    """CVAT sets iscrowd for every mask stored as uncompressed RLE, where it says nothing about crowds."""
    return bool(entry.get("iscrowd", 0)) and "attributes" not in entry


def track_of(entry: dict[str, Any]) -> str | int | None:
    for place in (entry, dictionary(entry.get("attributes") or {}, "attributes")):
        for key in ("instance_id", "track_id"):
            if place.get(key) is not None:
                return identifier(place[key], key)
    return None
