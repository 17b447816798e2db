"""Finds what is wrong with a COCO set of single images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mindvideo.data.annotations import read_json
from mindvideo.data.check import Problem, frame_problem
from mindvideo.data.segmentation import to_rle
from mindvideo.data.video_frames import VideoFrames
from mindvideo.errors import UserError


def check_image_set(
    annotation_file: str | Path, image_folder: str | Path | None, *, decode: bool = False
) -> list[Problem]:
    """Every problem of a COCO file and, with a folder, of its images."""
    content = read_json(Path(annotation_file))
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise UserError(f"{annotation_file}: no 'images' list, so not a COCO annotation file")
    images = {entry.get("id"): entry for entry in content["images"]}
    problems = []
    if len(images) != len(content["images"]):
        problems.append(Problem("duplicate id", "images", f"{len(content['images']) - len(images)} ids are used again"))
    if image_folder is not None:
        videos = VideoFrames()
        for entry in content["images"]:
            size = (entry.get("height"), entry.get("width"))
            found = frame_problem(
                Path(image_folder) / entry["file_name"], size, f"image {entry.get('id')}", decode, videos
            )
            problems += [found] if found else []
    categories = {category.get("id") for category in content.get("categories") or ()}
    for entry in content.get("annotations") or ():
        problems += _check_annotation(entry, images, categories)
    return problems


def _check_annotation(
    entry: dict[str, Any], images: dict[Any, dict[str, Any]], categories: set[Any]
) -> Iterator[Problem]:
    where = f"annotation {entry.get('id')}"
    if entry.get("category_id") not in categories:
        yield Problem("unknown category", where, f"category {entry.get('category_id')} is not in 'categories'")
    image = images.get(entry.get("image_id"))
    if image is None:
        yield Problem("unknown image", where, f"image {entry.get('image_id')} is not in 'images'")
        return
    try:
        rle = to_rle(entry["segmentation"], image["height"], image["width"])
    except (KeyError, TypeError, ValueError) as error:
        yield Problem("mask", where, str(error))
        return
    if list(rle["size"]) != [image["height"], image["width"]]:
        size = [image["height"], image["width"]]
        yield Problem("mask size", where, f"{list(rle['size'])}, the image is {size} ([height, width])")
