"""Labelled images of a COCO file as videos of one frame, each annotation with its box as the file has it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mindvideo.data.labels.forms import IMAGE_SET_FORMS, box_fault, place_of
from mindvideo.data.labels.reading import read_json, refusal, require_form, require_list, require_own_ids
from mindvideo.errors import UserError
from mindvideo.evaluation.ground_truth import GroundTruth, LabelledTrack, LabelledVideo
from mindvideo.masks.forms import read_mask
from mindvideo.masks.rle import mask_area


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """``ground_truth``: every image is a video of one frame; ``boxes``: image id -> x y w h of its tracks, [G, 4]."""

    ground_truth: GroundTruth
    boxes: Mapping[int | str, np.ndarray]


def read_labelled_images(
    path: str | Path, *, category_map: Mapping[int, int] | None = None, categories: Mapping[int, str] | None = None
) -> LabelledImages:
    """All images of the file, those without an instance too; crowds are kept.

    With a ``category_map`` the instances of other classes are left out, and ``categories`` names what it leads to.
    """
    path = Path(path)
    content = read_json(path)
    require_list(path, content, "images", "COCO")
    require_form(path, content, IMAGE_SET_FORMS)
    require_own_ids(path, content, "images", "categories")
    if not content.get("annotations"):
        raise UserError(f"{path}: its images have no annotations, so nothing can be evaluated with it")
    names = categories or {entry["id"]: entry["name"] for entry in content.get("categories") or ()}
    images = {entry["id"]: entry for entry in content["images"]}
    found: dict[int, list[tuple[LabelledTrack, list[float]]]] = {number: [] for number in images}
    for index, entry in enumerate(content["annotations"]):
        category = entry["category_id"] if category_map is None else category_map.get(entry["category_id"])
        if category is None:
            continue
        where = place_of("annotations", index, entry)
        image = images.get(entry["image_id"])
        if image is None:
            raise refusal(path, where, f"it is of image {entry['image_id']}, which is not listed")
        if category not in names:
            raise refusal(path, where, f"it has category {category}, which is not listed")
        try:
            found[entry["image_id"]].append(_instance(entry, image, category, index))
        except ValueError as error:
            raise refusal(path, where, error) from error
    return LabelledImages(
        ground_truth=GroundTruth(videos=tuple(_video(images[n], found[n]) for n in sorted(images)), categories=names),
        boxes={number: np.array([box for _, box in own], np.float64).reshape(-1, 4) for number, own in found.items()},
    )


def _instance(
    entry: Mapping[str, Any], image: Mapping[str, Any], category: int, index: int
) -> tuple[LabelledTrack, list[float]]:
    mask = read_mask(entry["segmentation"], image["height"], image["width"])
    box, area = entry.get("bbox"), entry.get("area")
    if box is None:
        raise ValueError("it has no bbox")
    if fault := box_fault(box):
        raise ValueError(fault)
    track = LabelledTrack(
        id=entry.get("id", index),
        category_id=category,
        is_crowd=bool(entry.get("iscrowd", 0)),
        tube=[mask["counts"]],
        mean_area=float(mask_area(mask) if area is None else area),
        occlusion=None,
    )
    return track, [float(number) for number in box]


def _video(image: Mapping[str, Any], instances: list[tuple[LabelledTrack, list[float]]]) -> LabelledVideo:
    return LabelledVideo(
        id=image["id"],
        height=image["height"],
        width=image["width"],
        length=1,
        file_names=(image["file_name"],),
        tracks=tuple(track for track, _ in instances),
    )
