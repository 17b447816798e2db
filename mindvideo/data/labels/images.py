"""Annotation files in the COCO layout: single images with instances."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from mindvideo.data.labels.categories import Category, read_categories
from mindvideo.data.labels.forms import IMAGE_SET_FORMS, box_fault, place_of
from mindvideo.data.labels.reading import read_json, refusal, require_form, require_list, require_own_ids
from mindvideo.errors import UserError
from mindvideo.masks.forms import read_mask
from mindvideo.masks.rle import Rle

MAP_VERSIONS = ("published", "corrected")


@dataclasses.dataclass(frozen=True)
class ImageInstance:
    """``box``: x, y, width, height as the file has it; None where it has none."""

    category_id: int
    mask: Rle
    box: tuple[float, float, float, float] | None = None


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
    try:
        return {int(coco_id): int(target) for coco_id, target in content[version].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: no map '{version}' of category ids to category ids ({error!r})") from error


def read_image_annotations(
    path: str | Path, category_map: Mapping[int, int] | None = None
) -> tuple[list[LabelledImage], list[Category]]:
    """Images with at least one instance that is not a crowd (and, with a map, whose category has a counterpart)."""
    path = Path(path)
    content = read_json(path)
    require_list(path, content, "images", "COCO")
    require_form(path, content, IMAGE_SET_FORMS)
    require_own_ids(path, content, "images", "categories")
    images = {entry["id"]: entry for entry in content["images"]}
    instances: dict[int, list[ImageInstance]] = {image_id: [] for image_id in images}
    for index, entry in enumerate(content.get("annotations") or ()):
        category = entry["category_id"] if category_map is None else category_map.get(entry["category_id"])
        if category is None or entry.get("iscrowd", 0):
            continue
        image = images.get(entry["image_id"])
        where = place_of("annotations", index, entry)
        if image is None:
            raise refusal(path, where, f"it is of image {entry['image_id']}, which is not listed")
        try:
            mask = read_mask(entry["segmentation"], image["height"], image["width"])
        except ValueError as error:
            raise refusal(path, where, error) from error
        box = entry.get("bbox")
        if fault := box_fault(box):
            raise refusal(path, where, fault)
        instances[entry["image_id"]].append(ImageInstance(category, mask, None if box is None else tuple(box)))
    labelled = [
        LabelledImage(image_id, entry["file_name"], entry["height"], entry["width"], tuple(instances[image_id]))
        for image_id, entry in images.items()
        if instances[image_id]
    ]
    return labelled, list(read_categories(content))
