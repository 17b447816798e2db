"""AP of single images, of masks and boxes, against pycocotools on the same labels and the same results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mindvideo.errors import UserError
from mindvideo.evaluation.image_ap import coco_records, evaluate_images
from mindvideo.evaluation.image_truth import read_labelled_images
from mindvideo.evaluation.results_json import ResultsInMemory
from mindvideo.evaluation.table import image_table
from mindvideo.evaluation.track_ap import STATISTICS

SIDES = (180, 240)  # large enough for all three sizes of COCO
CATEGORIES = (1, 3, 18)


def rectangle(rng: np.random.Generator, size: tuple[int, int]) -> tuple[int, int, int, int]:
    side = int(rng.choice([12, 50, 120]))
    height, width = min(side + rng.integers(0, 20), size[0]), min(side + rng.integers(0, 20), size[1])
    return rng.integers(0, size[0] - height + 1), rng.integers(0, size[1] - width + 1), height, width


def drawn(box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    top, left, height, width = box
    mask = np.zeros(size, np.uint8)
    mask[top : top + height, left : left + width] = 1
    mask[top : top + height // 4, left : left + width // 4] = 0  # its box is not its mask
    return mask


def encoded(mask: np.ndarray) -> dict:
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def write_labels(path: Path, rng: np.random.Generator, *, num_images: int) -> dict:
    """Polygons, runs and crowds, an image without an instance, and boxes and areas of the file's own."""
    content = {"images": [], "annotations": [], "categories": [{"id": n, "name": f"class {n}"} for n in CATEGORIES]}
    for number in range(num_images):
        image = {"id": 7 * number + 3, "file_name": f"{number}.jpg", "height": SIDES[0], "width": SIDES[1]}
        content["images"].append(image)
        for _ in range(0 if number == 1 else rng.integers(1, 6)):
            mask = drawn(rectangle(rng, SIDES), SIDES)
            crowd = int(rng.random() < 0.25)
            rle = encoded(mask)
            if crowd:
                rle = {"size": list(SIDES), "counts": runs_of(mask)}
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1, "image_id": image["id"], "iscrowd": crowd,
                    "category_id": int(rng.choice(CATEGORIES)), "segmentation": rle,
                    "bbox": coco_mask.toBbox(coco_mask.encode(np.asfortranarray(mask))).tolist(),
                    "area": float(mask.sum()) * 0.97,
                }
            )  # fmt: skip
    path.write_text(json.dumps(content))
    return content


def runs_of(mask: np.ndarray) -> list[int]:
    flat = np.concatenate([[0], mask.reshape(-1, order="F"), [2]])
    borders = np.flatnonzero(np.diff(flat))
    return np.diff([0, *borders]).tolist() if flat[1] == 0 else [0, *np.diff([0, *borders]).tolist()]


def found(content: dict, rng: np.random.Generator) -> list[dict]:
    """Shifted truths, wrong classes, doubles and inventions; scores come in steps, so that some are equal."""
    records = []
    for image in content["images"]:
        size = (image["height"], image["width"])
        own = [entry for entry in content["annotations"] if entry["image_id"] == image["id"]]
        for entry in own:
            x, y, width, height = (int(side) for side in entry["bbox"])
            for _ in range(rng.integers(0, 3)):
                top, left = max(y + rng.integers(-6, 7), 0), max(x + rng.integers(-6, 7), 0)
                mask = drawn((top, left, height, width), size)
                category = entry["category_id"] if rng.random() < 0.8 else int(rng.choice(CATEGORIES))
                records.append((image["id"], category, mask))
        for _ in range(rng.integers(0, 3)):
            records.append((image["id"], int(rng.choice(CATEGORIES)), drawn(rectangle(rng, size), size)))
    return [
        {
            "video_id": image_id,
            "category_id": category,
            "score": round(float(rng.random()), 1),
            "segmentations": [encoded(mask)],
        }
        for image_id, category, mask in records
        if mask.any()
    ]


def figures_of_pycocotools(labels: Path, records: list[dict], kind: str) -> list[float]:
    truth = COCO(str(labels))
    evaluation = COCOeval(truth, truth.loadRes(records), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats.tolist()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_figures_are_those_of_pycocotools(tmp_path: Path, seed: int):
    rng = np.random.default_rng(seed)
    content = write_labels(tmp_path / "labels.json", rng, num_images=25)
    results = ResultsInMemory(found(content, rng))
    images = read_labelled_images(tmp_path / "labels.json")
    evaluation = evaluate_images(images, results)
    for kind, tracks in (("segm", evaluation.masks), ("bbox", evaluation.boxes)):
        expected = figures_of_pycocotools(tmp_path / "labels.json", list(coco_records(images, results)), kind)
        ours = tracks.statistics()
        np.testing.assert_allclose([ours[name] for name in STATISTICS], expected, atol=1e-9)
        assert 0.05 < ours["AP"] < 0.95
    metrics = evaluation.metrics()
    assert metrics["images"] == 25 and metrics["AP"] != metrics["box"]["AP"]
    assert "masks" in image_table(metrics) and "class 18" in image_table(metrics)


def test_classes_are_mapped_to_those_of_a_video_set(tmp_path: Path):
    content = write_labels(tmp_path / "labels.json", np.random.default_rng(3), num_images=4)
    images = read_labelled_images(tmp_path / "labels.json", category_map={1: 30, 3: 4}, categories={30: "a", 4: "b"})
    kept = [track for video in images.ground_truth.videos for track in video.tracks]
    expected = [entry for entry in content["annotations"] if entry["category_id"] in (1, 3)]
    assert len(kept) == len(expected) > 0 and {track.category_id for track in kept} == {4, 30}
    assert images.ground_truth.categories == {30: "a", 4: "b"}
    assert sum(len(boxes) for boxes in images.boxes.values()) == len(kept)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": None}, "its images have no annotations"),
        ({"category_id": 99}, "category 99, which is not listed"),
        ({"image_id": 5}, "image 5, which is not listed"),
        ({"bbox": None}, "it has no bbox"),
        ({"bbox": [1, 2, 3]}, "four numbers"),
    ],
)
def test_faults_are_told_in_one_line(tmp_path: Path, change: dict, message: str):
    content = write_labels(tmp_path / "labels.json", np.random.default_rng(0), num_images=3)
    if "annotations" in change:
        content.update(change)
    else:
        content["annotations"][1].update(change)
    (tmp_path / "labels.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message) as caught:
        read_labelled_images(tmp_path / "labels.json")
    assert "\n" not in str(caught.value)
