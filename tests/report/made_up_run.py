"""A small labelled set with frames, and predictions for it that hold every kind of error."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from mindvideo.data.synthetic.files import write_split
from mindvideo.data.synthetic.videos import RECIPES
from mindvideo.evaluation.evaluator import Evaluation, evaluate_results
from mindvideo.evaluation.ground_truth import read_ground_truth
from mindvideo.evaluation.results_json import ResultsInMemory

FAULTS = ("none", "missed", "wrong class", "swapped identity", "split", "poor mask", "duplicate", "false")


def write_set(folder: Path, *, num_videos: int = 8, num_frames: int = 8) -> tuple[Path, Path]:
    """(annotation file, folder of frames)."""
    recipe = dataclasses.replace(RECIPES["easy"], num_frames=num_frames, objects=(2, 4))
    list(write_split(folder, recipe, split="valid", num_videos=num_videos, seed=5))
    return folder / "annotations" / "instances_valid.json", folder / "valid" / "JPEGImages"


def faulty_records(annotations: Path) -> list[dict]:
    """The annotations as predictions, each video with another fault in its first track."""
    content = json.loads(annotations.read_text(encoding="utf-8"))
    records: list[dict] = []
    for number, video in enumerate(content["videos"]):
        own = [entry for entry in content["annotations"] if entry["video_id"] == video["id"]]
        tracks = [[_decoded(rle, video) for rle in entry["segmentations"]] for entry in own]
        labels = [entry["category_id"] for entry in own]
        rng = np.random.default_rng(number)
        found = [(label, track, 0.95 - 0.1 * rng.random()) for label, track in zip(labels, tracks)]
        found = _with_fault(FAULTS[number % len(FAULTS)], found, tracks, video)
        for label, track, score in found:
            masks = [_encoded(mask) for mask in track]
            records.append({"video_id": video["id"], "category_id": label, "score": score, "segmentations": masks})
    return records


def _with_fault(fault: str, found: list, tracks: list, video: dict) -> list:
    (label, track, score), rest = found[0], found[1:]
    half = len(track) // 2
    nothing = [np.zeros_like(mask) for mask in track]
    if fault == "missed":
        return rest
    if fault == "wrong class":
        return [(label % 4 + 1, track, score), *rest]
    if fault == "swapped identity":
        other = tracks[1]
        second_label = rest[0][0]
        return [
            (label, track[:half] + other[half:], score),
            (second_label, other[:half] + track[half:], 0.7),
            *rest[1:],
        ]
    if fault == "split":
        third = len(track) // 3
        return [(label, track[:third] + nothing[third:], score), (label, nothing[:-third] + track[-third:], 0.6), *rest]
    if fault == "poor mask":
        return [(label, [_grown(mask) for mask in track], score), *rest]
    if fault == "duplicate":
        return [*found, (label, track, 0.5)]
    if fault == "false":
        corner = np.zeros((video["height"], video["width"]), np.uint8)
        corner[:14, :14] = 1
        return [*found, (label, [corner] * len(track), 0.8)]
    return found


def _grown(mask: np.ndarray) -> np.ndarray:
    return cv2.dilate(mask, np.ones((17, 17), np.uint8))


def _decoded(rle: dict | None, video: dict) -> np.ndarray:
    return np.zeros((video["height"], video["width"]), np.uint8) if rle is None else coco_mask.decode(rle)


def _encoded(mask: np.ndarray) -> dict | None:
    if not mask.any():
        return None
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def evaluate_set(annotations: Path) -> tuple[Evaluation, ResultsInMemory]:
    results = ResultsInMemory(faulty_records(annotations))
    return evaluate_results(read_ground_truth(annotations), results), results


def training_records(num_steps: int = 120) -> list[dict]:
    """The lines of a training's ``metrics.jsonl``."""
    rng = np.random.default_rng(0)
    records = []
    for step in range(10, 10 * num_steps + 1, 10):
        loss = 4 * np.exp(-step / 400) + 0.6 + 0.15 * rng.random()
        terms = {"loss_mask": 0.5 * loss, "loss_class": 0.3 * loss, "loss_box": 0.2 * loss}
        rates = {"learning_rate": 5e-4 * (1 + np.cos(np.pi * step / (10 * num_steps))) / 2, "loss_scale": 1.0}
        records.append({"kind": "train", "step": step, "epoch": 1, "loss": loss, **terms, **rates, "seconds_step": 0.2})
        if step % 300 == 0:
            figures = {"AP": 0.6 * (1 - np.exp(-step / 500)), "AP50": 0.8 * (1 - np.exp(-step / 400)), "AP75": None}
            records.append({"kind": "evaluation", "step": step, **figures})
    return records
