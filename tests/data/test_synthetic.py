"""The made-up sets: reproducible, well formed, and as difficult as they claim."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from mindvideo.data.labels.check import check_video_set
from mindvideo.data.labels.videos import read_video_annotations
from mindvideo.data.media.frame_reader import decode_frame
from mindvideo.data.synthetic.files import write_split, write_video_files
from mindvideo.data.synthetic.videos import MIN_VISIBLE_PIXELS, RECIPES, render_video
from tests.data.conftest import NUM_VIDEOS, RECIPE


def test_a_video_follows_from_seed_split_and_number() -> None:
    recipe = RECIPES["easy"]
    first = render_video(recipe, seed=3, split="train", index=5)
    again = render_video(recipe, seed=3, split="train", index=5)
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.masks, again.masks)
    others = [
        render_video(recipe, seed=s, split=p, index=i)
        for s, p, i in ((4, "train", 5), (3, "valid", 5), (3, "train", 6))
    ]
    assert all(not np.array_equal(first.frames, other.frames) for other in others)


@pytest.mark.parametrize("preset", ["easy", "hard"])
def test_masks_are_disjoint_and_visible(preset: str) -> None:
    recipe = RECIPES[preset]
    for index in range(4):
        video = render_video(recipe, seed=0, split="train", index=index)
        assert video.frames.shape == (recipe.num_frames, recipe.height, recipe.width, 3)
        assert video.masks.shape == (len(video.labels), *video.frames.shape[:3])
        assert set(video.labels) <= set(range(1, len(recipe.shapes) + 1))
        assert video.masks.sum(axis=0).max() == 1
        areas = video.masks.sum(axis=(2, 3))
        assert areas.any(axis=1).all()
        assert (areas[areas > 0] >= MIN_VISIBLE_PIXELS).all()


def test_easy_objects_are_brighter_than_the_background() -> None:
    for index in range(10):
        video = render_video(RECIPES["easy"], seed=1, split="valid", index=index)
        background = video.frames[~video.masks.any(axis=0)].mean()
        for masks in video.masks:
            assert video.frames[masks].mean() > background + 0.2 * 255


def test_hard_objects_hide_one_another_leave_and_return() -> None:
    """Over a few videos there are objects that vanish for some frames and come back."""
    returns = 0
    for index in range(6):
        seen = render_video(RECIPES["hard"], seed=0, split="train", index=index).masks.any(axis=(2, 3))
        for track in seen:
            edges = np.flatnonzero(np.diff(track.astype(int)))
            returns += int(len(edges) >= 2 and track[edges[-1] + 1])
    assert returns >= 1


def test_written_set_has_no_problems(shapes_set: Path) -> None:
    for split in ("train", "valid"):
        file = shapes_set / "annotations" / f"instances_{split}.json"
        assert [p for p in check_video_set(file, shapes_set / split / "JPEGImages", decode=True) if p.is_error] == []
    annotations = read_video_annotations(shapes_set / "annotations/instances_train.json")
    assert len(annotations.videos) == NUM_VIDEOS
    assert annotations.category_names == {1: "disc", 2: "square", 3: "triangle", 4: "cross"}


def test_written_frames_and_masks_are_the_rendered_ones(shapes_set: Path) -> None:
    video = render_video(RECIPE, seed=7, split="train", index=2)
    stored = decode_frame(shapes_set / "train/JPEGImages/00002/00003.jpg").astype(int)
    assert np.abs(stored - video.frames[3]).mean() < 9  # JPEG halves the colours of noisy pixels; other videos: > 40
    content = json.loads((shapes_set / "annotations/instances_train.json").read_text())
    tracks = [entry for entry in content["annotations"] if entry["video_id"] == 3]
    assert [entry["category_id"] for entry in tracks] == list(video.labels)
    areas = [[area or 0 for area in entry["areas"]] for entry in tracks]
    assert areas == video.masks.sum(axis=(2, 3)).tolist()


def test_video_files_play(tmp_path: Path) -> None:
    (path,) = write_video_files(tmp_path, RECIPE, split="valid", num_videos=1, seed=7)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    rendered = render_video(RECIPE, seed=7, split="valid", index=0).frames
    assert np.shape(frames) == rendered.shape
    assert np.abs(np.array(frames).astype(int) - rendered).mean() < 12


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        list(write_split(tmp_path / name, RECIPE, split="valid", num_videos=2, seed=1))
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*") if path.is_file())
    assert len(files) == 2 * RECIPE.num_frames + 1
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
