"""The result of a video in the forms that other tools take. NumPy only."""

from __future__ import annotations

import doctest
import json
import sys
import types

import cv2
import numpy as np
import pytest

import mindvideo.api.result
from mindvideo import UserError, VideoInstances, VideoResult, load_results
from mindvideo.masks.rle import encode_mask

H, W, T = 64, 80, 3


def masks_of_two() -> np.ndarray:
    """[N, T, H, W]: a square that moves, and one that is only in the last frame."""
    masks = np.zeros((2, T, H, W), bool)
    for t in range(T):
        masks[0, t, 4:12, 5 + t : 15 + t] = True
    masks[1, 2, 44:50, 20:30] = True
    return masks


@pytest.fixture
def result() -> VideoResult:
    instances = VideoInstances(
        video_id="v",
        size=(H, W),
        num_frames=T,
        scores=np.array([0.9, 0.2], np.float32),
        labels=np.array([2, 5]),
        track_ids=np.array([3, 8]),
        segmentations=[[encode_mask(mask) if mask.any() else None for mask in track] for track in masks_of_two()],
    )
    return VideoResult(instances, class_names={2: "dog"}, frame_indices=[0, 2, 4], frames_per_second=10.0)


def test_the_docstrings_examples_run():
    found = doctest.testmod(mindvideo.api.result)
    assert found.attempted >= 10 and not found.failed


def test_arrays(result):
    assert np.array_equal(result.masks, masks_of_two())
    assert result.boxes[0].tolist() == [[5, 4, 15, 12], [6, 4, 16, 12], [7, 4, 17, 12]]
    assert np.isnan(result.boxes[1, 0]).all() and result.boxes[1, 2].tolist() == [20, 44, 30, 50]
    assert result.names == ["dog", "class 5"] and len(result) == 2 and "#3 dog 0.90" in repr(result)
    sure = result.above(0.5)
    assert sure.track_ids.tolist() == [3] and sure.num_frames == T and np.array_equal(sure.masks, masks_of_two()[:1])
    last = result.frame(-1)
    assert last.num_frames == 1 and np.array_equal(last.masks[:, 0], masks_of_two()[:, 2])
    with pytest.raises(IndexError):
        result.frame(T)


def test_records_are_rows_of_a_table(result):
    records = result.to_records()
    assert [(each["frame"], each["track_id"]) for each in records] == [(0, 3), (2, 3), (4, 3), (4, 8)]
    assert records[-1] == {
        "frame": 4, "track_id": 8, "class_id": 5, "class_name": "class 5", "score": pytest.approx(0.2), "x0": 20.0,
        "y0": 44.0, "x1": 30.0, "y1": 50.0, "area": 60,
    }  # fmt: skip
    json.dumps(records)


def test_coco_and_results_files(result, tmp_path):
    coco = result.to_coco()
    json.dumps(coco)
    assert [image["frame_index"] for image in coco["images"]] == [0, 2, 4]
    assert [annotation["track_id"] for annotation in coco["annotations"]] == [3, 3, 3, 8]
    assert result.rle[1][2]["size"] == [H, W] and result.rle[1][0] is None
    again = load_results(result.save(tmp_path / "results.json"))["v"]
    assert np.array_equal(again.masks(), masks_of_two())


def test_overlay_of_a_frame_and_of_the_video(result, tmp_path):
    grey = np.full((H, W, 3), 90, np.uint8)
    drawn = result.overlay(grey, 2, confidence=0.1, scale=1)
    assert drawn.shape == grey.shape and (drawn[10, 9] != 90).any() and (drawn[47, 25] != 90).any()
    assert (result.overlay(grey, 2, confidence=0.5, scale=1)[47, 25] == 90).all()
    with pytest.raises(UserError, match="give image="):
        result.overlay()
    path = result.save_overlay(tmp_path / "overlay.mp4", [grey] * T)
    video = cv2.VideoCapture(str(path))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == T
    with pytest.raises(UserError, match="2 pictures were given for 3 frames"):
        result.save_overlay(tmp_path / "short.mp4", [grey] * 2)
    assert not (tmp_path / "short.mp4").exists()
    with pytest.raises(UserError, match="give its frames with images="):
        result.save_overlay(tmp_path / "none.mp4")


def test_detections_of_supervision(result, monkeypatch):
    """Where the package is not installed a stand-in takes what it takes: ``supervision.Detections`` checks shapes."""
    try:
        import supervision
    except ModuleNotFoundError:
        with pytest.raises(UserError, match="pip install supervision"):
            result.to_supervision()
        supervision = types.SimpleNamespace(Detections=lambda **fields: types.SimpleNamespace(**fields))
        monkeypatch.setitem(sys.modules, "supervision", supervision)
    first, last = result.to_supervision(), result.to_supervision(2)
    assert first.xyxy.tolist() == [[5, 4, 15, 12]] and first.tracker_id.tolist() == [3]
    assert np.array_equal(last.mask, masks_of_two()[:, 2]) and last.confidence.tolist() == pytest.approx([0.9, 0.2])
    assert last.class_id.tolist() == [2, 5] and last.data["class_name"].tolist() == ["dog", "class 5"]
    nothing = VideoResult(VideoInstances.nothing(video_id=1, size=(H, W), num_frames=1)).to_supervision()
    assert nothing.xyxy.shape == (0, 4) and nothing.mask.shape == (0, H, W)
