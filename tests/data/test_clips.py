"""Clip rules, transforms and clips of images: what holds for any draw."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mindvideo.data.clips.image_dataset import ImageDataset
from mindvideo.data.clips.rules import (
    CLIP_RULES,
    CircularWindow,
    ConsecutiveFrames,
    ReferenceFrames,
    SeveralWindows,
    clip_rule,
)
from mindvideo.data.clips.training import TrainingClips
from mindvideo.data.media.broken_frame import BrokenFrameError
from mindvideo.data.media.lazy import ClipFrames
from mindvideo.data.transforms.base import Compose
from mindvideo.data.transforms.photometric import FrameColours, distort
from mindvideo.data.transforms.pipelines import AUGMENTATIONS, AugmentationSettings, build_augmentation
from mindvideo.data.transforms.rotation import Rotation
from mindvideo.data.transforms.sample import ClipSample
from mindvideo.errors import UserError
from mindvideo.masks.extents import mask_extents
from mindvideo.masks.lazy import ClipMasks

SETTINGS = {"short_sides": (40, 48), "max_long_side": 80, "crop_short_sides": (50, 60), "crop_range": (30, 50)}


@pytest.mark.parametrize("name", sorted(CLIP_RULES))
@pytest.mark.parametrize("length", [1, 2, 5, 40])
@pytest.mark.parametrize("num_frames", [1, 2, 3, 5, 9])
def test_every_rule_gives_frames_of_the_video(name: str, length: int, num_frames: int) -> None:
    rng = np.random.default_rng(length)
    for key_frame in range(length):
        frames = clip_rule(name, num_frames=num_frames, repeat_last=bool(key_frame % 2)).frames(key_frame, length, rng)
        assert len(frames) == num_frames and min(frames) >= 0 and max(frames) < length
        if name != "circular_window":
            assert frames == sorted(frames)
        if name != "reference_frames" or num_frames >= 3:
            assert key_frame in frames


def test_consecutive_frames_in_a_row_and_repeating_the_last() -> None:
    rng = np.random.default_rng(0)
    starts = {tuple(ConsecutiveFrames(num_frames=4).frames(6, 20, rng)) for _ in range(200)}
    assert starts == {tuple(range(start, start + 4)) for start in range(3, 7)}
    assert ConsecutiveFrames(num_frames=4).frames(1, 2, rng) == [0, 1, 1, 1]
    assert CircularWindow(num_frames=5).frames(1, 3, rng) == [0, 1, 2, 0, 1]


def test_two_windows_of_a_video_are_clips_of_the_rule_and_the_second_lies_anywhere() -> None:
    rule = SeveralWindows(rule=ConsecutiveFrames(num_frames=4), windows=2)
    drawn = [rule.frames(6, 20, np.random.default_rng(seed)) for seed in range(300)]
    assert rule.num_frames == 8 and all(6 in frames[:4] for frames in drawn)
    assert {tuple(frames[4:]) for frames in drawn} == {tuple(range(start, start + 4)) for start in range(17)}
    assert drawn == [rule.frames(6, 20, np.random.default_rng(seed)) for seed in range(300)]
    assert rule.frames(0, 1, np.random.default_rng(0)) == [0] * 8


def test_reference_frames_without_the_repeat() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        frames = ReferenceFrames(num_frames=6).frames(20, 40, rng)
        assert len(set(frames)) == 6


def made_clip(rng: np.random.Generator, size: tuple[int, int] = (60, 90)) -> ClipSample:
    """Three instances, the second absent in two frames; each mask is its box."""
    H, W = size
    boxes = np.zeros((3, 4, 4), np.float32)
    masks = np.zeros((3, 4, H, W), np.uint8)
    for n in range(3):
        for t in range(4):
            if (n, t) in ((1, 0), (1, 3)):
                continue
            x, y = int(rng.integers(0, W - 30)), int(rng.integers(0, H - 25))
            boxes[n, t] = x, y, x + 24, y + 20
            masks[n, t, y : y + 20, x : x + 24] = 1
    return ClipSample(
        frames=ClipFrames.of_pixels(rng.integers(0, 256, (4, H, W, 3)).astype(np.uint8)),
        labels=np.array([4, 5, 6], np.int32),
        boxes=boxes,
        masks=ClipMasks.of_pixels(masks),
        present=boxes.any(axis=-1),
        video_id=1,
        frame_indices=np.arange(4),
        key_frame=0,
    )


# Turned masks do not fill their boxes, and a crop cuts boxes as such: those without a crop only.
@pytest.mark.parametrize(
    ("name", "rotation"), [*((name, 0.0) for name in sorted(AUGMENTATIONS)), ("none", 40.0), ("toy", 40.0)]
)
@pytest.mark.parametrize("seed", range(6))
def test_boxes_follow_the_masks_and_sizes_the_plan(name: str, seed: int, rotation: float) -> None:
    rng = np.random.default_rng(seed)
    augmentation = build_augmentation(AugmentationSettings(name=name, rotation=rotation, **SETTINGS), absent="drop")
    clip = made_clip(rng)
    parameters = augmentation.draw(rng, clip.size, clip.num_frames)
    planned = augmentation.output_size(clip.size, parameters)
    clip = augmentation.apply(clip, parameters)
    frames, masks = clip.frames.pixels(), clip.masks.pixels()
    assert frames.shape == (4, *planned, 3) and frames.dtype == np.uint8
    assert masks.shape == (clip.num_instances, 4, *planned)
    assert masks.any(axis=(1, 2, 3)).all()
    tight = mask_extents(masks)
    seen = masks.any(axis=(2, 3))
    tight[..., 2:] += seen[..., None]
    assert np.abs(clip.boxes - tight)[seen].max() < 3.1  # three resizes of whole pixels
    assert not clip.boxes[~seen].any()


def test_a_turned_clip_keeps_its_objects_and_its_boxes() -> None:
    """A quarter turn of a square frame is exact; what is turned out of view is absent; the rest is of mean colour."""
    rng = np.random.default_rng(0)
    clip = made_clip(rng, size=(60, 60))
    frames, masks = clip.frames.pixels().copy(), clip.masks.pixels().copy()
    turned = Rotation(reach=90.0).apply(clip, 90.0)
    assert np.abs(turned.frames.pixels().astype(int) - np.rot90(frames, -1, axes=(1, 2))).max() <= 1
    assert (turned.masks.pixels() == np.rot90(masks, -1, axes=(2, 3))).all()
    assert (turned.present == masks.any(axis=(2, 3))).all()
    x0, y0, x1, y1 = (made_clip(np.random.default_rng(0), size=(60, 60)).boxes[..., corner] for corner in range(4))
    exact = np.stack([60 - y1, x0, 60 - y0, x1], -1) * turned.present[..., None]
    np.testing.assert_array_equal(turned.boxes, exact)

    wide = made_clip(rng, size=(40, 160))
    colours = wide.frames.pixels().mean(axis=(1, 2))
    wide = Rotation(reach=90.0).apply(wide, 90.0)
    assert np.abs(wide.frames.pixels()[:, 0, 0] - colours).max() <= 1
    seen = wide.masks.pixels().any(axis=(2, 3))
    assert (wide.present == seen).all() and not wide.boxes[~seen].any() and not seen.all()


def test_rotation_comes_before_the_augmentation_and_is_drawn_once_a_clip() -> None:
    angles = [build_augmentation(AugmentationSettings(name="toy", rotation=30.0)).draw(
        np.random.default_rng(seed), (60, 90), 5)[0] for seed in range(200)]  # fmt: skip
    assert -30 <= min(angles) < -25 and 25 < max(angles) <= 30
    assert len(build_augmentation(AugmentationSettings(name="toy")).transforms) == 4


def test_photometric_distortion_is_drawn_for_each_frame() -> None:
    rng = np.random.default_rng(0)
    settings = AugmentationSettings(name="resize_or_crop", **SETTINGS)
    _, colours, _ = build_augmentation(settings).draw(rng, (60, 90), 8)
    assert len(colours) == 8 and len(set(colours)) > 4
    without = AugmentationSettings(name="resize_or_crop", photometric=False, **SETTINGS)
    assert len(build_augmentation(without).draw(rng, (60, 90), 8)) == 2


def test_bright_values_are_clipped_unless_they_shall_wrap() -> None:
    white = np.full((4, 4, 3), 250, np.uint8)
    colours = FrameColours(brightness=20.0)
    assert (distort(white, colours=colours, wrap=False) == 255).all()
    assert (distort(white, colours=colours, wrap=True) < 20).all()


def coco_set(folder: Path, count: int = 3) -> Path:
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(1, count + 1):
        name = f"{number:012d}.jpg"
        Image.fromarray(rng.integers(0, 256, (50, 70, 3)).astype(np.uint8)).save(folder / name)
        images.append({"id": number, "file_name": name, "height": 50, "width": 70})
        for shift, category in ((0, 1), (10, 74), (20, 13)):
            corners = [10 + shift, 10, 30 + shift, 10, 30 + shift, 35, 10 + shift, 35]
            entry = {"id": len(annotations), "image_id": number, "category_id": category, "segmentation": [corners]}
            annotations.append({**entry, "iscrowd": int(shift == 20 and number == 1)})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    file = folder / "coco.json"
    file.write_text(json.dumps(content))
    return file


def test_clips_of_images(tmp_path: Path) -> None:
    file = coco_set(tmp_path)
    dataset = ImageDataset(annotation_file=file, image_folder=tmp_path, num_frames=4, category_map={1: 26, 13: 7})
    clip = dataset.clip(1, np.random.default_rng(3))
    again = dataset.clip(1, np.random.default_rng(3))
    np.testing.assert_array_equal(clip.frames.pixels(), again.frames.pixels())
    np.testing.assert_array_equal(clip.masks.pixels(), again.masks.pixels())
    assert clip.labels.tolist() == [26, 7]
    frames, masks = clip.frames.pixels(), clip.masks.pixels()
    assert frames.shape == (4, 50, 70, 3) and masks.shape == (2, 4, 50, 70)
    original = dataset.reader.read("000000000002.jpg")
    assert [np.array_equal(frame, original) for frame in frames].count(True) == 1
    assert len({frame.tobytes() for frame in frames}) == 4
    np.testing.assert_array_equal(clip.boxes, mask_extents(masks))
    assert clip.present.all()
    # The masks move with the picture: most of their area stays where the frame is not black.
    assert all(frames[t][masks[n, t] > 0].mean() > 40 for n in range(2) for t in range(4))


def test_a_clip_of_an_image_decodes_it_when_its_pixels_are_asked_for(tmp_path: Path) -> None:
    file = coco_set(tmp_path)
    (tmp_path / "000000000001.jpg").unlink()
    dataset = ImageDataset(annotation_file=file, image_folder=tmp_path, num_frames=3)
    clip = dataset.clip(0, np.random.default_rng(0))
    assert clip.masks.pixels().any(axis=(2, 3)).all()
    with pytest.raises(BrokenFrameError, match="000000000001.jpg.*No such file"):
        clip.frames.pixels()


@pytest.mark.parametrize("num_frames", [1, 3])
def test_broken_images_are_passed_over(tmp_path: Path, num_frames: int) -> None:
    """As single frames and as clips of moved copies; strict names the file."""
    file = coco_set(tmp_path, count=4)
    broken = tmp_path / "000000000003.jpg"
    broken.write_bytes(broken.read_bytes()[:400])
    for strict in (False, True):
        source = ImageDataset(annotation_file=file, image_folder=tmp_path, num_frames=num_frames)
        clips = TrainingClips(source=source, transform=Compose(transforms=[]), strict=strict)
        if strict:
            with pytest.raises(UserError, match="000000000003.jpg.*data.strict is on"):
                clips.sample(2, np.random.default_rng(0))
        else:
            clip, told = clips.sample(2, np.random.default_rng(0))
            assert clip.video_id != 3 and clip.frames.pixels().shape == (num_frames, 50, 70, 3)
            assert told and all("000000000003.jpg" in line for line in told)


def test_single_images_have_the_boxes_of_the_file(tmp_path: Path) -> None:
    file = coco_set(tmp_path)
    content = json.loads(file.read_text())
    content["annotations"][0]["bbox"] = [10.5, 9.25, 20.0, 90.0]  # goes beyond the image, which is 50 high
    file.write_text(json.dumps(content))
    single, clip = (ImageDataset(annotation_file=file, image_folder=tmp_path, num_frames=T) for T in (1, 2))
    boxes = single.clip(0, np.random.default_rng(0)).boxes[:, 0].tolist()
    assert boxes == [[10.5, 9.25, 30.5, 50.0], [20, 10, 39, 34]]
    moved = clip.clip(0, np.random.default_rng(0))
    np.testing.assert_array_equal(moved.boxes, mask_extents(moved.masks.pixels()))


def test_single_images_keep_every_category_without_a_map(tmp_path: Path) -> None:
    dataset = ImageDataset(annotation_file=coco_set(tmp_path), image_folder=tmp_path, num_frames=1)
    clip = dataset.clip(0, np.random.default_rng(0))
    assert clip.labels.tolist() == [1, 74]  # the third is a crowd in the first image
    assert clip.boxes[0, 0].tolist() == [10, 10, 29, 34]
    assert len(dataset) == 3 and dataset.frame_size(2) == (50, 70)
