"""Tiny sets in the trees, names and layouts in which the official servers publish theirs.

A training part has labels: a rectangle that moves. A validation or test part has none, in one of the three ways that
are met: ``annotations`` is null, is missing, or is an empty list.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_masks

from mindvideo.data.labels.categories import read_category_file
from mindvideo.resources import resource_folder

HEIGHT, WIDTH = 48, 64
CATEGORIES = resource_folder("datas") / "categories"


@dataclasses.dataclass(frozen=True)
class Part:
    """One annotation file below the folder of the set. ``videos``: id -> (folder of its frames, number of them).

    ``labels`` is what the file holds as ``annotations``; "missing" leaves the key out, "made" makes labels.
    """

    file: str
    frames: str
    videos: dict[int, tuple[str, int]]
    labels: Any = None
    first: int = 0
    step: int = 5
    name: str = "{:05d}.jpg"


def youtube_vis_2019(root: Path) -> Path:
    """The key ``annotations`` of valid.json is null."""
    names = ["0a49f5265b", "0b6db1c6fd", "0c04834d61", "0dab202f15", "0f3f8b2b2f", "10eced835e"]
    trained = {number: (name, 4) for number, name in enumerate(names, start=1)}
    parts = (
        Part("train.json", "train/JPEGImages", trained, "made"),
        Part("valid.json", "valid/JPEGImages", {1: ("00f88c4f0a", 3), 2: ("01c88b5b60", 4), 3: ("02b1a46f42", 3)}),
    )
    return write_set(root / "youtube_vis_2019", parts, categories="ytvis19")


def youtube_vis_2021(root: Path, *, valid: str = "valid") -> Path:
    """``valid/instances.json`` without a key ``annotations``; ids that are not 1 to N, videos in nested folders."""
    videos = {211: ("a/00f88c4f0a", 3), 5: ("b/00f88c4f0a", 4), 3: ("b/c/1d3087d5e5", 3)}
    parts = (
        Part("train/instances.json", "train/JPEGImages", {7: ("0043f083b5", 3), 9: ("00917c48d5", 3)}, "made"),
        Part(f"{valid}/instances.json", f"{valid}/JPEGImages", videos, "missing"),
    )
    return write_set(root / "youtube_vis_2021", parts, categories="ytvis21")


def youtube_vis_2022(root: Path, *, labels: Any = ()) -> Path:
    """``annotations`` is an empty list; ``gt_long.json`` lists the long videos, under ids of its own."""
    videos = {2: ("0062f687f1", 3), 4: ("e2c0f5b0f1", 9), 6: ("00f88c4f0a", 3)}
    long = {1: videos[4]}
    parts = (
        Part("valid.json", "valid/JPEGImages", videos, list(labels) if labels != "made" else "made"),
        Part("gt_long.json", "valid/JPEGImages", long, "missing"),
    )
    return write_set(root / "ytvis_2022", parts, categories="ytvis21")


def ovis(root: Path) -> Path:
    """Frames are called img_0000001.jpg, img_0000002.jpg and so on; both withheld files have null."""
    names = {"first": 1, "step": 1, "name": "img_{:07d}.jpg"}
    parts = (
        Part("annotations_train.json", "train", {1: ("001ca3cb", 3), 2: ("0aa1c1a5", 3)}, "made", **names),
        Part("annotations_valid.json", "valid", {12: ("af48b2f9", 4), 31: ("cfff47c3", 3)}, **names),
        Part("annotations_test.json", "test", {40: ("54ea9f8f", 3)}, **names),
    )
    return write_set(root / "ovis", parts, categories="ovis")


def write_set(folder: Path, parts: tuple[Part, ...], *, categories: str) -> Path:
    classes = [
        {"id": each.id, "name": each.name, "supercategory": "object"}
        for each in read_category_file(CATEGORIES / f"{categories}.json")
    ]
    for part in parts:
        content = {"info": {"description": folder.name}, "licenses": [], "videos": [], "categories": classes}
        made = []
        for number, (name, length) in part.videos.items():
            files = [f"{name}/{part.name.format(part.first + part.step * t)}" for t in range(length)]
            video = {"id": number, "width": WIDTH, "height": HEIGHT, "length": length, "file_names": files}
            content["videos"].append({**video, "date_captured": "", "license": 1, "flickr_url": "", "coco_url": ""})
            made.append(write_frames(folder / part.frames, files, number=number))
        if part.labels != "missing":
            content["annotations"] = made if part.labels == "made" else part.labels
        (folder / part.file).parent.mkdir(parents=True, exist_ok=True)
        (folder / part.file).write_text(json.dumps(content))
    return folder


def write_frames(folder: Path, files: list[str], *, number: int) -> dict[str, Any]:
    """Frames with a bright rectangle that moves to the right, and its label, of category 1 or 2."""
    boxes, masks, areas = [], [], []
    for t, file in enumerate(files):
        x, y, w, h = 6 + 4 * t + number % 3, 10 + number % 5, 20, 16
        frame = np.full((HEIGHT, WIDTH, 3), 40 + number % 50, np.uint8)
        frame[y : y + h, x : x + w] = (220, 60 + 90 * (number % 2), 30)
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(folder / file, quality=95)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
        mask[y : y + h, x : x + w] = 1
        encoded = coco_masks.encode(mask)
        masks.append({"size": encoded["size"], "counts": encoded["counts"].decode()})
        boxes.append([x, y, min(w, WIDTH - x), h])
        areas.append(int(mask.sum()))
    return {
        "id": number, "video_id": number, "category_id": 1 + number % 2, "iscrowd": 0, "width": WIDTH,
        "height": HEIGHT, "length": 1, "bboxes": boxes, "segmentations": masks, "areas": areas,
    }  # fmt: skip
