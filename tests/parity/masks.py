"""Results of ours against the original's: categories, scores and masks."""

from __future__ import annotations

import pytest
from pycocotools import mask as coco_mask

LEAST_IOU = 0.995  # of one mask: a logit near 0 may fall on either side
MOST_PIXELS = 2  # or so many of a tiny one


def assert_same_results(ours: list[dict], theirs: list[dict], *, score_tolerance: float) -> None:
    assert len(ours) == len(theirs)
    for mine, original in zip(ours, theirs):
        assert mine["video_id"] == original["video_id"]
        assert mine["category_id"] == original["category_id"]
        assert mine["score"] == pytest.approx(original["score"], abs=score_tolerance)
        assert len(mine["segmentations"]) == len(original["segmentations"])
        for mask, wanted in zip(mine["segmentations"], original["segmentations"]):
            assert (mask is None) == (wanted is None)
            if wanted is not None:
                assert_same_mask(mask, wanted)


def assert_same_mask(mask: dict, wanted: dict) -> None:
    assert mask["size"] == wanted["size"]
    if mask["counts"] != wanted["counts"]:
        different = int((coco_mask.decode(mask) != coco_mask.decode(wanted)).sum())
        overlap = coco_mask.iou([mask], [wanted], [0])[0, 0]
        assert overlap >= LEAST_IOU or different <= MOST_PIXELS, f"IoU {overlap:.4f}, {different} pixels"
