"""Small labelled sets of moving rectangles, as annotations and as results."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pytest
from pycocotools import mask as coco_mask

HEIGHT, WIDTH, LENGTH = 40, 60, 8
CATEGORIES = {1: "disc", 2: "square", 3: "cross"}
# One object: category, and per frame (x, y, width, height) or None.
Boxes = list[tuple[int, int, int, int] | None]


def moving(x: int, y: int, *, step: int = 1, size: int = 12, length: int = LENGTH) -> Boxes:
    return [(x + step * frame, y, size, size) for frame in range(length)]


SCENES: dict[int, list[tuple[int, Boxes]]] = {
    3: [(1, moving(2, 2)), (2, moving(30, 20, step=-1))],
    7: [(1, moving(5, 22, step=2)), (1, moving(36, 3)), (3, [None, None, *moving(20, 25)[2:]])],
    11: [(2, moving(4, 4, size=18)), (3, moving(40, 24, step=-3))],
}


def encoded(box: tuple[int, int, int, int] | None, size: tuple[int, int] = (HEIGHT, WIDTH)) -> dict | None:
    if box is None:
        return None
    x, y, width, height = box
    mask = np.zeros(size, np.uint8, order="F")
    mask[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = 1
    rle = coco_mask.encode(mask)
    return {"size": list(size), "counts": rle["counts"].decode("ascii")}


def annotations(scenes: dict[int, list[tuple[int, Boxes]]] = SCENES) -> dict:
    videos, entries = [], []
    for video_id, objects in scenes.items():
        length = len(objects[0][1]) if objects else LENGTH
        names = [f"video{video_id}/{frame:05d}.jpg" for frame in range(length)]
        videos.append({"id": video_id, "height": HEIGHT, "width": WIDTH, "length": length, "file_names": names})
        for category, boxes in objects:
            masks = [encoded(box) for box in boxes]
            areas = [None if mask is None else int(coco_mask.area(mask)) for mask in masks]
            entry = {"id": len(entries) + 1, "video_id": video_id, "category_id": category, "iscrowd": 0}
            entries.append({**entry, "segmentations": masks, "areas": areas, "bboxes": boxes})
    categories = [{"id": key, "name": name} for key, name in CATEGORIES.items()]
    return {"videos": videos, "categories": categories, "annotations": entries}


def record(video_id: int, category: int, boxes: Boxes, score: float = 0.9) -> dict:
    masks = [encoded(box) for box in boxes]
    return {"video_id": video_id, "category_id": category, "score": score, "segmentations": masks}


def perfect(scenes: dict[int, list[tuple[int, Boxes]]] = SCENES) -> list[dict]:
    return [record(video, category, boxes) for video, objects in scenes.items() for category, boxes in objects]


def noisy(seed: int, scenes: dict[int, list[tuple[int, Boxes]]] = SCENES, copies: int = 3) -> list[dict]:
    """Shifted copies of every object with scores that are all different, some under a wrong class."""
    rng = np.random.default_rng(seed)
    records = []
    for video, objects in scenes.items():
        for category, boxes in objects * copies:
            dx, dy, growth = rng.integers(-4, 5, 3)
            shifted = [None if b is None else (b[0] + dx, b[1] + dy, b[2] + growth, b[3]) for b in boxes]
            label = category if rng.random() < 0.8 else int(rng.integers(1, 4))
            records.append(record(video, label, shifted, float(rng.random())))
    return records


def changed(records: Sequence[dict], index: int, **values: object) -> list[dict]:
    copied = copy.deepcopy(list(records))
    copied[index].update(values)
    return copied


def approximately(figures: object) -> object:
    """``pytest.approx`` for dictionaries of dictionaries."""
    if isinstance(figures, dict):
        return {key: approximately(entry) for key, entry in figures.items()}
    return pytest.approx(figures, abs=1e-12) if isinstance(figures, float) else figures
