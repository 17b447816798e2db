"""Finds what is wrong with a COCO set of single images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mindvideo.data.labels.check import (
    annotated_size,
    by_id,
    check_box,
    check_category,
    check_ids,
    check_labelled,
    entries_of,
    mask_problem,
)
from mindvideo.data.labels.forms import (
    IMAGE_FORM,
    IMAGE_SET_FORMS,
    INSTANCE_FORM,
    Problem,
    form_problems,
    has_form,
    place_of,
)
from mindvideo.data.labels.picture_problems import frame_problem
from mindvideo.data.labels.reading import read_json, require_list
from mindvideo.data.media.video_frames import VideoFrames
from mindvideo.masks.forms import read_mask
from mindvideo.masks.rle import mask_area


def check_image_set(
    annotation_file: str | Path, image_folder: str | Path | None, *, decode: bool = False
) -> list[Problem]:
    """Every problem of a COCO file and, with a folder, of its images."""
    content = read_json(Path(annotation_file))
    require_list(Path(annotation_file), content, "images", "COCO")
    problems = [*form_problems(content, IMAGE_SET_FORMS), *check_ids(content, IMAGE_SET_FORMS)]
    if image_folder is not None:
        problems += _check_files(content["images"], Path(image_folder), decode)
    problems += check_labelled(content, "nothing can be learned from it")
    images, categories = by_id(content, "images"), by_id(content, "categories")
    for index, entry in enumerate(entries_of(content, "annotations")):
        if has_form(entry, INSTANCE_FORM):
            problems += _check_annotation(entry, place_of("annotations", index, entry), images, categories)
    return problems


def _check_files(images: list[Any], folder: Path, decode: bool) -> Iterator[Problem]:
    videos = VideoFrames()
    for index, image in enumerate(images):
        name = image.get("file_name") if isinstance(image, dict) else None
        if not isinstance(name, str) or not name:
            continue
        found = frame_problem(folder / name, annotated_size(image), place_of("images", index, image), decode, videos)
        if found is not None:
            yield found


def _check_annotation(
    entry: dict[str, Any], where: str, images: Mapping[Any, dict[str, Any]], categories: Mapping[Any, Any]
) -> Iterator[Problem]:
    if entry.get("id") is None:
        yield Problem("missing key", where, "no id")
    yield from check_category(where, entry["category_id"], categories)
    image = images.get(entry["image_id"])
    if image is None:
        yield Problem("unknown image", where, f"image {entry['image_id']} is not in 'images'")
        return
    if not has_form(image, IMAGE_FORM):
        return
    size = (image["height"], image["width"])
    if entry.get("bbox") is not None and (problem := check_box(where, entry["bbox"], size)):
        yield problem
    try:
        rle = read_mask(entry["segmentation"], *size)
    except ValueError as error:
        yield mask_problem(where, error)
        return
    if not mask_area(rle):
        # COCO itself has polygons too thin to cover a pixel; such an instance is present in no frame.
        yield Problem("empty mask", where, "a segmentation without pixels", is_error=not entry["segmentation"])
