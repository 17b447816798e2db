"""Annotation files in the COCO layout: single images with instances."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from mindvideo.data.annotations import Category, read_json
from mindvideo.data.segmentation import Rle, to_rle
from mindvideo.errors import UserError

MAP_VERSIONS = ("published", "corrected")


@dataclasses.dataclass(frozen=True)
class ImageInstance:
    category_id: int
    mask: Rle


@dataclasses.dataclass(frozen=True)
class LabelledImage:
    id: int
    file_name: str
    height: int
    width: int
    instances: tuple[ImageInstance, ...]


def read_category_map(path: str | Path, version: str) -> dict[int, int]:
    """COCO category id -> id in the video set, ``published`` or ``corrected``. Ids that are not in it are dropped."""
    content = read_json(Path(path))
    return {int(coco_id): int(target) for coco_id, target in content[version].items()}


def read_image_annotations(
    path: str | Path, category_map: Mapping[int, int] | None = None
) -> tuple[list[LabelledImage], list[Category]]:
    """Images with at least one instance that is no crowd (and, with a map, whose category has a counterpart)."""
    path = Path(path)
    content = read_json(path)
    if not isinstance(content, dict) or "images" not in content:
        raise UserError(f"{path}: no 'images' list, so not a COCO annotation file")
    images = {entry["id"]: entry for entry in content["images"]}
    instances: dict[int, list[ImageInstance]] = {image_id: [] for image_id in images}
    for entry in content.get("annotations") or ():
        category = entry["category_id"] if category_map is None else category_map.get(entry["category_id"])
        if category is None or entry.get("iscrowd", 0):
            continue
        image = images.get(entry["image_id"])
        if image is None:
            raise UserError(f"{path}: annotation {entry['id']} is of image {entry['image_id']}, which is not listed")
        try:
            mask = to_rle(entry["segmentation"], image["height"], image["width"])
        except (KeyError, ValueError) as error:
            raise UserError(f"{path}: annotation {entry['id']}: {error}") from error
        instances[entry["image_id"]].append(ImageInstance(category, mask))
    labelled = [
        LabelledImage(image_id, entry["file_name"], entry["height"], entry["width"], tuple(instances[image_id]))
        for image_id, entry in images.items()
        if instances[image_id]
    ]
    return labelled, [Category(entry["id"], entry["name"]) for entry in content.get("categories") or ()]
