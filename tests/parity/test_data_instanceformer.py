"""Clips, transforms and whole training samples of InstanceFormer against the numbers of the original code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mindvideo.data.clips.rules import ReferenceFrames
from mindvideo.data.clips.video_dataset import VideoDataset
from mindvideo.data.feed.batch import normalised_boxes
from mindvideo.data.media.frame_size import short_side_size
from mindvideo.data.transforms.flip import HorizontalFlip
from mindvideo.data.transforms.instances import DropVanished
from mindvideo.data.transforms.photometric import shift_hue, to_hue
from mindvideo.data.transforms.pipelines import AugmentationSettings, build_augmentation
from mindvideo.data.transforms.resize import RandomCrop, ResizeShortSide
from mindvideo.data.transforms.sample import ClipSample
from tests.parity.data_fixtures import enlarge, make_clip, normalise, rows, unpack, write_annotations, write_frames
from tests.parity.recorded_draws import Draws

BOX_MINIMUM = 1e-6
PIPELINE = AugmentationSettings(
    name="resize_or_crop",
    short_sides=(288, 320, 352, 392, 416, 448, 480, 512),
    max_long_side=768,
    photometric_wrap=True,
)
RESIZED, CROPPED = 0, 1  # the two choices of that pipeline


@pytest.fixture(scope="module")
def folder(golden: Path) -> Path:
    return golden / "instanceformer/data"


@pytest.fixture(scope="module")
def facts(folder: Path) -> dict:
    return json.loads((folder / "transforms.json").read_text())


@pytest.fixture(scope="module")
def arrays(folder: Path) -> dict[str, np.ndarray]:
    return dict(np.load(folder / "transforms.npz"))


def input_clip(facts: dict, arrays: dict) -> ClipSample:
    recipe = facts["input"]
    small = arrays["clip_lowres_uint8"]
    frames = enlarge(small, recipe["image_hw"][0] // small.shape[1], tuple(recipe["image_hw"]))
    masks = unpack(arrays["in_masks_packed"], np.array([len(arrays["in_boxes"]), *recipe["image_hw"]]))
    return make_clip(frames, arrays["in_labels"], arrays["in_boxes"], masks)


def apply_step(clip: ClipSample, name: str, settings: dict) -> ClipSample:
    if name == "hflip":
        return HorizontalFlip().apply(clip, True)
    if name == "resize":
        resize = ResizeShortSide(short_sides=[settings["short"]], max_long_side=settings["max"])
        return resize.apply(clip, settings["short"])
    if name == "crop":
        crop = RandomCrop(min_side=1, max_side=1, zero_vanished=True)
        return crop.apply(clip, tuple(settings[side] for side in "ijhw"))
    return DropVanished().apply(clip) if name == "check" else clip


def test_functions(facts: dict, arrays: dict) -> None:
    for tag, steps in facts["operations"].items():
        clip = input_clip(facts, arrays)
        for name, *settings in steps:
            clip = apply_step(clip, name, *settings or [{}])
        frames, (boxes, masks) = clip.frames.pixels(), rows(clip)
        if steps[-1][0] == "normalize":
            frames = normalise(frames, **steps[-1][1])
            boxes = normalised_boxes(clip, 0.0).reshape(-1, 4)
        np.testing.assert_allclose(boxes, arrays[f"{tag}_boxes"], rtol=0, atol=1e-7, err_msg=tag)
        packed = unpack(arrays[f"{tag}_masks_packed"], arrays[f"{tag}_masks_shape"])
        np.testing.assert_array_equal(masks, packed, err_msg=tag)
        np.testing.assert_array_equal(clip.labels, arrays[f"{tag}_labels"], err_msg=tag)
        assert list(clip.size) == arrays[f"{tag}_size"].tolist()
        for t, frame in enumerate(frames):
            stride = int(arrays[f"{tag}_img{t}_stride"])
            np.testing.assert_allclose(
                frame.reshape(-1)[::stride], arrays[f"{tag}_img{t}"], rtol=0, atol=1e-6, err_msg=tag
            )


def test_size_table(arrays: dict) -> None:
    for width, height, short, longest, new_width, new_height in arrays["size_table_w_h_short_max_outw_outh"].tolist():
        assert short_side_size((height, width), short_side=short, long_side=longest if longest > 0 else None) == (
            new_height,
            new_width,
        )


def test_hue_and_saturation(facts: dict, arrays: dict) -> None:
    frame = input_clip(facts, arrays).frames.pixels()[0].astype(np.float32)
    np.testing.assert_allclose(to_hue(frame), arrays["pd_hsv"], rtol=1e-6, atol=1e-4)
    settings = facts["hsv"]["pd_hsv_sat1.3_hue15_back"]
    shifted = shift_hue(frame, saturation=settings["saturation_factor"], hue=settings["hue_shift_degrees"])
    np.testing.assert_allclose(shifted, arrays["pd_hsv_sat1.3_hue15_back"], rtol=1e-6, atol=1e-4)


@pytest.fixture(scope="module")
def datasets(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, VideoDataset]:
    """The golden video as PNG files under the annotations of each of the two data sets."""
    place = tmp_path_factory.mktemp("instanceformer")
    recipe = json.loads((folder / "pipeline.json").read_text())["video"]
    small = np.load(folder / "pipeline.npz")["video_lowres_uint8"]
    frames = enlarge(small, recipe["frame_hw"][0] // small.shape[1], tuple(recipe["frame_hw"]))
    made = {}
    for name, content in json.loads((folder / "mini_annotations.json").read_text()).items():
        write_frames(place, content["videos"][0]["file_names"], frames)
        file = write_annotations(place / f"{name}.json", content)
        made[name] = VideoDataset(
            annotation_file=file, frame_folder=place, clip_rule=ReferenceFrames(num_frames=3, repeat_last=True)
        )
    return made


def take_frames(draws: Draws, key_frame: int, length: int, num_frames: int) -> list[int]:
    """The clip that the rule gives with the recorded draws; the recorded pool must be the rule's."""
    rule = ReferenceFrames(num_frames=num_frames, repeat_last=True)
    near = rule.near_frames(key_frame, length, draws.take("randint", [1, 3]), draws.take("randint", [1, 3]))
    further: list[int] = []
    if num_frames > len(near):
        pool = rule.far_pool(near, length)
        drawn = draws.take("sample", [[0, len(pool)], num_frames - len(near)])
        further = [pool[position] for position in drawn]
    return sorted(near + further)[:num_frames]


def take_parameters(draws: Draws, num_frames: int) -> list:
    flip = draws.take_flip()
    colours = [draws.take_colours() for _ in range(num_frames)]
    final_sides = [list(PIPELINE.short_sides)]
    if draws.take("random") < 0.5:
        return [flip, colours, (RESIZED, [draws.take("choice", final_sides), None])]
    middle = draws.take("choice", [list(PIPELINE.crop_short_sides)])
    crop = draws.take_crop()
    return [flip, colours, (CROPPED, [middle, crop, draws.take("choice", final_sides), None])]


def test_training_samples_with_recorded_draws(folder: Path, datasets: dict[str, VideoDataset], facts: dict) -> None:
    arrays = dict(np.load(folder / "pipeline.npz"))
    statistics = facts["operations"]["flip_resize_norm"][-1][1]
    augmentation = build_augmentation(PIPELINE)
    for run in json.loads((folder / "pipeline_draws.json").read_text()):
        tag, T, dataset = run["tag"], run["num_frames"], datasets[run["dataset"]]
        video, draws = dataset.videos[0], Draws(run["draws"])
        frames = take_frames(draws, run["index"], video.length, T)
        assert frames == run["frames"], tag
        clip = augmentation.apply(dataset.read_clip(video, run["index"], frames), take_parameters(draws, T))
        assert draws.are_used_up, tag

        image = normalise(clip.frames.pixels(), **statistics)
        assert [T * 3, *image.shape[2:]] == run["img_shape"], tag
        stride = int(arrays[f"{tag}_img_stride"])
        np.testing.assert_allclose(image.reshape(-1)[::stride], arrays[f"{tag}_img"], atol=1e-5, err_msg=tag)
        summary = [image.mean(dtype=float), image.std(dtype=float), image.min(), image.max()]
        np.testing.assert_allclose(summary, arrays[f"{tag}_img_stats"], atol=2e-5, err_msg=tag)
        boxes = normalised_boxes(clip, BOX_MINIMUM).transpose(1, 0, 2)  # [T, N, 4]
        np.testing.assert_allclose(boxes, arrays[f"{tag}_boxes"], rtol=0, atol=2e-7, err_msg=tag)
        areas = clip.masks.pixels().sum(axis=(2, 3), dtype=np.int64).T
        np.testing.assert_array_equal(areas, arrays[f"{tag}_mask_area"], err_msg=tag)
        np.testing.assert_array_equal(np.tile(clip.labels, (T, 1)), arrays[f"{tag}_labels"], err_msg=tag)
        np.testing.assert_array_equal(clip.present.reshape(-1), arrays[f"{tag}_valid"] == 1, err_msg=tag)
