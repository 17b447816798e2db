"""Every structure refuses what does not fit and says what it expected."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mindvideo.structures import CLIP_BATCH_COLUMNS, ClipBatch, ClipTargets, Frame, VideoInstances


def rle(height: int, width: int) -> dict:
    encoded = coco_mask.encode(np.asfortranarray(np.ones((height, width), np.uint8)))
    return {"size": [height, width], "counts": encoded["counts"].decode()}


def instances(**changes) -> VideoInstances:
    values = {
        "video_id": 4,
        "size": (6, 8),
        "num_frames": 2,
        "scores": np.array([0.9, 0.5], np.float32),
        "labels": np.array([3, 1]),
        "track_ids": np.array([0, 1]),
        "segmentations": [[rle(6, 8), None], [None, rle(6, 8)]],
    }
    return VideoInstances(**{**values, **changes})


def batch(**changes) -> ClipBatch:
    B, T, N, H, W = 2, 3, 4, 6, 8
    values = {
        "images": np.zeros((B, T, H, W, 3), np.uint8),
        "sizes": np.array([[6, 8], [5, 4]], np.int32),
        "labels": np.zeros((B, N), np.int32),
        "boxes": np.zeros((B, N, T, 4), np.float32),
        "masks": np.zeros((B, N, T, H, W), np.uint8),
        "present": np.zeros((B, N, T), np.bool_),
        "exists": np.zeros((B, N), np.bool_),
        "clip_ids": np.zeros((B, 2), np.int64),
    }
    return ClipBatch(**{**values, **changes})


def test_a_result_gives_youtube_vis_records():
    first, second = instances().to_results()
    assert first["video_id"] == 4 and first["category_id"] == 3 and first["score"] == pytest.approx(0.9)
    assert second["segmentations"][0] is None and second["segmentations"][1]["size"] == [6, 8]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [0.9, 0.5]}, "expected a numpy array, got list"),
        ({"scores": np.array([0.9, np.nan], np.float32)}, "scores must be finite"),
        ({"labels": np.array([3])}, r"labels: expected shape \[2\], got \[1\]"),
        ({"labels": np.array([3.0, 1.0])}, "expected dtype integer, got float64"),
        ({"track_ids": np.array([1, 1])}, "track ids must differ"),
        ({"segmentations": [[rle(6, 8), None]]}, "segmentations of 2 tracks, got 1"),
        ({"segmentations": [[rle(6, 8)], [None, None]]}, "track 0: expected 2 frames, got 1"),
        ({"segmentations": [[rle(8, 6), None], [None, None]]}, r"expected a mask of \(6, 8\), got \(8, 6\)"),
        ({"boxes": np.zeros((2, 3, 4), np.float32)}, r"expected shape \[2, 2, 4\], got \[2, 3, 4\]"),
    ],
)
def test_a_wrong_result_is_refused_with_expected_and_actual(change, message):
    with pytest.raises((TypeError, ValueError), match=message):
        instances(**change)


def test_binary_rle_counts_are_refused():
    binary = {"size": [6, 8], "counts": b"abc"}
    with pytest.raises(TypeError, match="RLE counts must be text, got bytes"):
        instances(segmentations=[[binary, None], [None, None]])


def test_the_columns_of_a_batch_keep_their_order():
    made = batch()
    assert [column is getattr(made, name) for name, column in zip(CLIP_BATCH_COLUMNS, made.columns())] == [True] * 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((2, 3, 6, 8, 3), np.float32)}, "expected dtype uint8, got float32"),
        ({"boxes": np.zeros((2, 4, 2, 4), np.float32)}, r"boxes: expected shape \[2, 4, 3, 4\], got \[2, 4, 2, 4\]"),
        ({"masks": np.zeros((2, 4, 3, 6, 6), np.uint8)}, r"masks: expected shape \[2, 4, 3, 6, 8\]"),
        ({"sizes": np.array([[6, 8], [7, 8]], np.int32)}, r"sizes: expected between \(1, 1\) and \(6, 8\)"),
    ],
)
def test_a_wrong_batch_is_refused(change, message):
    with pytest.raises((TypeError, ValueError), match=message):
        batch(**change)


def test_targets_must_agree_on_instances_and_frames():
    good = {
        "labels": np.array([1, 2], np.int32),
        "boxes": np.zeros((2, 3, 4), np.float32),
        "masks": np.zeros((2, 3, 6, 8), np.bool_),
        "present": np.ones((2, 3), np.bool_),
        "video_id": 1,
        "frame_indices": (0, 1, 2),
    }
    assert len(ClipTargets(**good)) == 2
    with pytest.raises(ValueError, match=r"present: expected shape \[2, 3\], got \[2, 2\]"):
        ClipTargets(**{**good, "present": np.ones((2, 2), np.bool_)})
    with pytest.raises(ValueError, match=r"boxes: expected shape \[2, 2, 4\]"):
        ClipTargets(**{**good, "frame_indices": (0, 1)})


def test_a_frame_is_a_colour_picture():
    assert Frame(np.zeros((4, 6, 3), np.uint8), 0, "a.jpg").size == (4, 6)
    with pytest.raises(ValueError, match=r"expected shape \[H, W, 3\], got \[4, 6\]"):
        Frame(np.zeros((4, 6), np.uint8), 0, "a.jpg")
    with pytest.raises(ValueError, match="has no pixels"):
        Frame(np.zeros((0, 6, 3), np.uint8), 0, "a.jpg")
    with pytest.raises(ValueError, match="expected 0 or more"):
        Frame(np.zeros((4, 6, 3), np.uint8), -1, "a.jpg")
