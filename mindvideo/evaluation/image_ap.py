"""AP and AR of single images as COCO defines them, of masks and of the boxes around the masks.

The matching and the averages are those of tracks; what is COCO's own are the ranges of sizes, the overlap with a crowd
and the boxes. The figures are those that pycocotools gives for the file of :func:`coco_records`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mindvideo.evaluation import track_ap
from mindvideo.evaluation.ground_truth import LabelledVideo
from mindvideo.evaluation.image_truth import LabelledImages
from mindvideo.evaluation.results_json import Record, Results, checked_tubes
from mindvideo.evaluation.track_ap import CategoryVideo, TrackAP, match_category
from mindvideo.masks.overlap import tube_overlap
from mindvideo.masks.rle import mask_box

# Pixels; both ends belong to a range.
AREA_RANGES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}


@dataclasses.dataclass(frozen=True)
class ImageEvaluation:
    """The twelve figures of COCO, for masks and for boxes."""

    masks: TrackAP
    boxes: TrackAP
    categories: Mapping[int, str]
    num_images: int

    def metrics(self) -> dict[str, Any]:
        """For ``metrics.json``: those of the masks at the top, those of the boxes in ``box``."""
        own = self.masks.per_category().items()
        return {
            **self.masks.statistics(),
            "box": self.boxes.statistics(),
            "images": self.num_images,
            "per_category": {str(number): {"name": self.categories[number], **figures} for number, figures in own},
        }


def evaluate_images(images: LabelledImages, results: Results) -> ImageEvaluation:
    """Compare the records of every image, each with one segmentation."""
    ground_truth = images.ground_truth
    of_masks: dict[int | str, dict[int, CategoryVideo]] = {}
    of_boxes: dict[int | str, dict[int, CategoryVideo]] = {}
    for image in ground_truth.videos:
        records = [record for record in results.records(image.id) if record["category_id"] in ground_truth.categories]
        of_masks[image.id], of_boxes[image.id] = _match_image(image, records, images.boxes[image.id])
    categories = sorted(ground_truth.categories)
    return ImageEvaluation(
        masks=track_ap.accumulate(of_masks, categories),
        boxes=track_ap.accumulate(of_boxes, categories),
        categories=ground_truth.categories,
        num_images=len(ground_truth.videos),
    )


def _match_image(
    image: LabelledVideo, records: Sequence[Record], truth_boxes: np.ndarray
) -> tuple[dict[int, CategoryVideo], dict[int, CategoryVideo]]:
    """By category, matched by masks and by boxes."""
    overlap = tube_overlap(
        checked_tubes(image, records), [track.tube for track in image.tracks], pixels=image.height * image.width
    )
    crowd = np.array([track.is_crowd for track in image.tracks], bool)
    areas, truth_areas = overlap.detection_areas.sum(1), overlap.truth_areas.sum(1)
    by_masks = _overlap(overlap.intersections.sum(0), areas, truth_areas, crowd)
    boxes = np.array([_box(record) for record in records], np.float64).reshape(-1, 4)
    common = _common_of_boxes(boxes, truth_boxes)
    by_boxes = _overlap(common, boxes[:, 2] * boxes[:, 3], truth_boxes[:, 2] * truth_boxes[:, 3], crowd)
    labels = np.array([record["category_id"] for record in records], np.int64)
    truth_labels = np.array([track.category_id for track in image.tracks], np.int64)
    shared = {
        "scores": np.array([record["score"] for record in records], np.float64),
        # The size of a detection is that of its mask, also where boxes are compared.
        "detection_areas": areas.astype(np.float64),
        "truths": image.tracks,
        "truth_areas": np.array([track.mean_area for track in image.tracks], np.float64),
        "area_ranges": AREA_RANGES,
    }
    found: tuple[dict[int, CategoryVideo], dict[int, CategoryVideo]] = ({}, {})
    for category in sorted({*labels.tolist(), *truth_labels.tolist()}):
        rows, columns = np.flatnonzero(labels == category), np.flatnonzero(truth_labels == category)
        for matched, iou in zip(found, (by_masks, by_boxes)):
            matched[category] = match_category(iou=iou, detection_rows=rows, truth_rows=columns, **shared)
    return found


def _overlap(common: np.ndarray, areas: np.ndarray, truth_areas: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """IoU [D, G] of intersections; with a crowd, the share of the detection that lies in it."""
    union = np.where(crowd, areas[:, None], areas[:, None] + truth_areas - common)
    return np.divide(common, union, out=np.zeros(common.shape), where=union > 0)


def _common_of_boxes(boxes: np.ndarray, truth_boxes: np.ndarray) -> np.ndarray:
    """Intersections [D, G] of boxes x y w h."""
    low = np.maximum(boxes[:, None, :2], truth_boxes[None, :, :2])
    high = np.minimum(boxes[:, None, :2] + boxes[:, None, 2:], truth_boxes[None, :, :2] + truth_boxes[None, :, 2:])
    return np.maximum(high - low, 0).prod(axis=2)


def _box(record: Record) -> list[float]:
    """x y w h around the mask."""
    [mask] = record["segmentations"]
    return (None if mask is None else mask_box(mask)) or [0.0] * 4


def coco_records(images: LabelledImages, results: Results) -> Iterable[dict[str, Any]]:
    """The records as COCO's tools and server take them."""
    for image in images.ground_truth.videos:
        for record in results.records(image.id):
            [mask] = record["segmentations"]
            if mask is not None:
                yield {
                    "image_id": image.id,
                    "category_id": record["category_id"],
                    "score": record["score"],
                    "segmentation": mask,
                }
