"""A tiny COCO in its official tree: images with one or two bright rectangles, boxes, polygons and a crowd."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from mindvideo.data.labels.categories import read_category_file
from mindvideo.resources import resource_folder

HEIGHT, WIDTH = 48, 64
CATEGORIES = resource_folder("datas") / "categories" / "coco.json"
# Classes of COCO that YouTube-VIS 2019 and OVIS have as well: person, dog, horse.
USED = (1, 18, 19)


def write_coco(root: Path, *, num_train: int = 4, num_valid: int = 3) -> Path:
    folder = root / "coco"
    (folder / "annotations").mkdir(parents=True)
    for split, first, count in (("train", 9, num_train), ("val", 139, num_valid)):
        content = labelled_images(folder / f"{split}2017", first, count)
        (folder / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))
    return folder


def labelled_images(frames: Path, first: int, count: int) -> dict:
    frames.mkdir(parents=True)
    classes = [{"id": each.id, "name": each.name} for each in read_category_file(CATEGORIES)]
    content = {"images": [], "annotations": [], "categories": classes}
    for number in range(first, first + count):
        name = f"{number:012d}.jpg"
        pixels = np.full((HEIGHT, WIDTH, 3), 30 + number % 60, np.uint8)
        content["images"].append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
        for k in range(1 + number % 2):
            x, y, w, h = 4 + 28 * k, 8 + number % 5, 22, 20 + number % 7
            pixels[y : y + h, x : x + w] = (210, 60 + 120 * k, 20)
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1, "image_id": number, "iscrowd": 0, "area": w * h,
                    "category_id": USED[(number + k) % len(USED)], "bbox": [x, y, w, h],
                    "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                }
            )  # fmt: skip
        Image.fromarray(pixels).save(frames / name, quality=95)
    crowd = np.zeros((HEIGHT, WIDTH), np.uint8)
    crowd[40:46, 2:60] = 1
    runs = np.diff(np.flatnonzero(np.diff(np.r_[2, crowd.reshape(-1, order="F"), 2])))
    content["annotations"].append(
        {
            "id": len(content["annotations"]) + 1, "image_id": first, "iscrowd": 1, "area": int(crowd.sum()),
            "category_id": USED[0], "bbox": [2, 40, 58, 6],
            "segmentation": {"size": [HEIGHT, WIDTH], "counts": runs.tolist()},
        }
    )  # fmt: skip
    return content
