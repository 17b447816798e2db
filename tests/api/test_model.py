"""``mindvideo.load`` and what it gives, on videos, arrays and streams."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest

import mindvideo.api.model
from mindvideo import UserError
from mindvideo.api.model import VideoModel, load
from mindvideo.inference.predictor import Predictor
from mindvideo.masks.rle import decode_mask
from tests.inference.colored_videos import ColorTracker, make_frame, true_masks, write_frame_folder, write_video


@pytest.fixture
def model() -> VideoModel:
    """The network is not the point here: this one finds what is coloured, three frames late."""
    return VideoModel(Predictor(tracker=ColorTracker(delay=3), class_names={1: "red", 2: "green"}), name="coloured")


def test_the_docstrings_examples_run():
    """They build and compile a small network with random weights."""
    found = doctest.testmod(mindvideo.api.model)
    assert found.attempted >= 4 and not found.failed


def test_a_folder_an_array_and_a_generator_give_the_same(model, tmp_path):
    arrays = np.stack([make_frame(index) for index in range(5)])
    folder = write_frame_folder(tmp_path / "clip", 5)
    results = [model.predict(source) for source in (folder, str(folder), arrays, list(arrays), iter(arrays))]
    for result in results:
        assert result.num_frames == 5 and result.names == ["red", "green", "class 3"]
        for place in range(5):
            for row, mask in enumerate(true_masks(place).values()):
                assert np.array_equal(decode_mask(result.rle[row][place]), mask)
    assert results[0].to_coco()["images"][4]["file_name"] == "frame4.png"
    assert len(model.predict(arrays, confidence=0.95)) == 0


def test_a_part_of_a_video_file_is_drawn_from_the_file_again(model, tmp_path):
    video = write_video(tmp_path / "clip.mp4", 9, frames_per_second=10)
    result = model.predict(video, frames="1:8:2")
    assert [image["file_name"] for image in result.to_coco()["images"]] == [f"clip.mp4#{t}" for t in (1, 3, 5, 7)]
    assert {record["frame"] for record in result.to_records()} == {1, 3, 5, 7}
    assert result.frames_per_second == pytest.approx(5, rel=0.6)
    assert result.save_overlay(tmp_path / "drawn.mp4").stat().st_size > 1000


def test_track_gives_each_frame_with_its_picture(model):
    frames = [make_frame(index) for index in range(6)]
    seen = 0
    for result in model.track(iter(frames), confidence=0.5):
        assert result.num_frames == 1 and np.array_equal(result.image, frames[seen])
        assert np.array_equal(result.masks[0, 0], true_masks(seen)[1])
        assert result.overlay().shape[2] == 3
        seen += 1
    assert seen == 6 and model.last_result.num_frames == 6


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("vistr_r51", "published", "neither a configuration .* nor published weights"),
        ("vistr_r50", "published", r"downloaded by hand: open https://\S+ , then put the file at \S+vistr_r50.pth"),
        ("vistr", "published", "vistr_r50 have to be downloaded by hand"),
        ("vistr_toy", "published", "no weights are published for vistr_toy"),
        ("resnet50_imagenet", "published", "only start a training"),
        ("vistr", "absent.pth", "--weights absent.pth: no such file"),
        ("vistr", "vistr_r5O", "did you mean vistr_r50"),
    ],
)
def test_what_cannot_be_loaded(name, weights, message, tmp_path, monkeypatch):
    monkeypatch.setenv("MINDVIDEO_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=message) as caught:
        load(name, weights=weights)
    assert "\n" not in str(caught.value)


def test_videos_that_are_none(model, tmp_path):
    for source, message in (
        (tmp_path / "absent.mp4", "no such file"),
        (np.zeros((2, 8, 8, 3), np.float32), "expected uint8 RGB"),
        ([], "no frames were given"),
        (None, "takes a video file"),
    ):
        with pytest.raises(UserError, match=message):
            model.predict(source)
    assert Path(tmp_path).exists()
