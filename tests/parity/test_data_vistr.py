"""Clips, targets and training transforms of VisTR against the numbers of the original code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mindvideo.data.clips.rules import CircularWindow
from mindvideo.data.clips.video_dataset import VideoDataset
from mindvideo.data.feed.batch import normalised_boxes
from mindvideo.data.media.frame_size import short_side_size
from mindvideo.data.transforms.flip import HorizontalFlip
from mindvideo.data.transforms.photometric import FrameColours, distort, shift_hue, to_hue
from mindvideo.data.transforms.pipelines import AugmentationSettings, build_augmentation
from mindvideo.data.transforms.resize import RandomCrop, ResizeShortSide
from mindvideo.data.transforms.sample import ClipSample
from tests.parity.data_fixtures import enlarge, make_clip, normalise, rows, unpack, write_annotations, write_frames
from tests.parity.recorded_draws import Draws

PIPELINE = AugmentationSettings(name="resize_crop", short_sides=(300,), max_long_side=540, photometric_wrap=True)


@pytest.fixture(scope="module")
def facts(golden: Path) -> dict:
    return json.loads((golden / "vistr/data.json").read_text())


@pytest.fixture(scope="module")
def arrays(golden: Path) -> dict[str, np.ndarray]:
    return dict(np.load(golden / "vistr/data.npz"))


@pytest.fixture(scope="module")
def dataset(golden: Path, facts: dict, arrays: dict, tmp_path_factory: pytest.TempPathFactory) -> VideoDataset:
    """The golden videos as PNG files, read with the rule that ends a clip at its key frame."""
    folder = tmp_path_factory.mktemp("vistr")
    content = json.loads((golden / "vistr" / facts["recipe"]["annotations"]).read_text())
    for video in content["videos"]:
        small = arrays[f"video{video['id']}_lowres"]
        write_frames(folder, video["file_names"], enlarge(small, 8, (video["height"], video["width"])))
    rule = CircularWindow(num_frames=facts["recipe"]["num_frames"])
    file = write_annotations(folder / "annotations.json", content)
    return VideoDataset(annotation_file=file, frame_folder=folder, clip_rule=rule)


def sample(dataset: VideoDataset, index: int) -> ClipSample:
    return dataset.clip(index, np.random.default_rng(0))


def test_clip_windows(facts: dict) -> None:
    rng = np.random.default_rng(0)
    for row in facts["windows36"]:
        window = CircularWindow(num_frames=len(row["frames"]))
        assert window.frames(row["frame"], row["length"], rng) == row["frames"]
    for num_frames, listed in facts["clips"].items():
        for row in listed:
            assert CircularWindow(num_frames=int(num_frames)).frames(row["frame"], row["length"], rng) == row["frames"]


def test_one_sample_for_every_frame(facts: dict, dataset: VideoDataset) -> None:
    listed = facts["clips"][str(facts["recipe"]["num_frames"])]
    assert len(dataset) == len(listed)
    for row in listed:
        clip = sample(dataset, row["sample"])
        assert (clip.video_id, clip.key_frame, clip.frame_indices.tolist()) == (
            row["video_id"],
            row["frame"],
            row["frames"],
        )


def test_target_preparation(facts: dict, arrays: dict, dataset: VideoDataset) -> None:
    for index in facts["recipe"]["target_preparation"]["samples"]:
        clip = sample(dataset, index)
        boxes, masks = rows(clip)
        tag = f"prep{index}_"
        np.testing.assert_array_equal(boxes, arrays[tag + "boxes"])
        np.testing.assert_array_equal(masks, unpack(arrays[tag + "masks_packed"], arrays[tag + "masks_shape"]))
        np.testing.assert_array_equal(clip.present.reshape(-1), arrays[tag + "valid"] == 1)
        np.testing.assert_array_equal((clip.labels[:, None] * clip.present).reshape(-1), arrays[tag + "labels"])
        assert list(clip.size) == arrays[tag + "size"].tolist() == arrays[tag + "orig_size"].tolist()


def test_size_table(arrays: dict) -> None:
    for width, height, short, longest, new_width, new_height in arrays["size_table"].tolist():
        assert short_side_size((height, width), short_side=short, long_side=longest if longest > 0 else None) == (
            new_height,
            new_width,
        )


def function_clip(facts: dict, arrays: dict) -> ClipSample:
    recipe = facts["recipe"]["functions"]
    height, width = recipe["size_hw"]
    frames = enlarge(arrays["fn_lowres"], 8, (height, width))
    masks = unpack(arrays["fn_masks_packed"], np.array([len(arrays["fn_boxes"]), height, width]))
    labels = np.arange(len(arrays["fn_boxes"]) // len(frames)) + 1
    return make_clip(frames, labels, arrays["fn_boxes"], masks)


@pytest.mark.parametrize("tag", ["hflip", "resize48", "resize100max120", "crop", "hflip_crop"])
def test_functions(tag: str, facts: dict, arrays: dict) -> None:
    clip, recipe = function_clip(facts, arrays), facts["recipe"]["functions"]
    if tag.startswith("hflip"):
        clip = HorizontalFlip().apply(clip, True)
    if tag.startswith("resize"):
        longest = recipe[tag]["max_long_side"] or 0
        resize = ResizeShortSide(short_sides=[recipe[tag]["short_side"]], max_long_side=longest)
        clip = resize.apply(clip, recipe[tag]["short_side"])
    if tag.endswith("crop"):
        place = tuple(recipe["crop"][name] for name in ("top", "left", "height", "width"))
        clip = RandomCrop(min_side=1, max_side=1000).apply(clip, place)
    boxes, masks = rows(clip)
    np.testing.assert_array_equal(boxes, arrays[f"fn_{tag}_boxes"])
    if tag != "hflip_crop":
        np.testing.assert_array_equal(clip.frames.pixels(), arrays[f"fn_{tag}_image"])
        np.testing.assert_array_equal(masks, unpack(arrays[f"fn_{tag}_masks_packed"], arrays[f"fn_{tag}_masks_shape"]))


def test_normalise(facts: dict, arrays: dict) -> None:
    clip = function_clip(facts, arrays)
    image = normalise(clip.frames.pixels(), **facts["recipe"]["normalize"])
    np.testing.assert_allclose(image.reshape(-1)[::5], arrays["fn_normalize_image"], atol=1e-6)
    boxes = normalised_boxes(clip, 0.0).reshape(-1, 4)
    np.testing.assert_allclose(boxes, arrays["fn_normalize_boxes"], rtol=0, atol=1e-7)


def test_hue_and_saturation(facts: dict, arrays: dict) -> None:
    change = facts["recipe"]["photometric"]["hsv_shift"]
    np.testing.assert_allclose(to_hue(arrays["hsv_in"]), arrays["hsv_out"], rtol=1e-6, atol=1e-4)
    shifted = shift_hue(arrays["hsv_in"], saturation=change["saturation_times"], hue=change["hue_plus"])
    np.testing.assert_allclose(shifted, arrays["hsv_back"], rtol=1e-6, atol=1e-4)


def test_values_wrap_or_are_clipped(arrays: dict) -> None:
    given, wrapped = arrays["uint8_cast_in"], arrays["uint8_cast_out"]
    for value, expected in zip(given, wrapped):
        start = np.full((1, 1, 3), 100, np.uint8)
        colours = FrameColours(brightness=float(value) - 100)
        # Grey has no hue, and the trip through HSV changes it by less than a rounding step.
        assert abs(int(distort(start, colours=colours, wrap=True)[0, 0, 0]) - int(expected)) in (0, 1, 255)
        assert abs(int(distort(start, colours=colours, wrap=False)[0, 0, 0]) - np.clip(value, 0, 255)) <= 1


def compare_image_and_boxes(clip: ClipSample, tag: str, arrays: dict, statistics: dict) -> None:
    image = normalise(clip.frames.pixels(), **statistics)
    stride, shape = int(arrays[tag + "image_stride"]), arrays[tag + "image_shape"]
    assert [image.shape[0] * 3, *image.shape[2:]] == shape.tolist()
    np.testing.assert_allclose(image.reshape(-1)[::stride], arrays[tag + "image"], atol=1e-5)
    boxes = normalised_boxes(clip, 0.0).reshape(-1, 4)
    np.testing.assert_allclose(boxes, arrays[tag + "boxes"], rtol=0, atol=2e-7)


def compare_masks_and_labels(clip: ClipSample, tag: str, arrays: dict) -> None:
    _, masks = rows(clip)
    np.testing.assert_array_equal(masks.sum(axis=2)[:, ::3], arrays[tag + "masks_rowsum"])
    np.testing.assert_array_equal(masks.sum(axis=1)[:, ::3], arrays[tag + "masks_colsum"])
    np.testing.assert_array_equal(clip.present.reshape(-1), arrays[tag + "valid"] == 1)
    np.testing.assert_array_equal((clip.labels[:, None] * clip.present).reshape(-1), arrays[tag + "labels"])
    assert list(clip.size) == arrays[tag + "size"].tolist()


def test_training_pipeline_with_recorded_draws(facts: dict, arrays: dict, dataset: VideoDataset) -> None:
    augmentation = build_augmentation(PIPELINE)
    for run in facts["pipeline"]:
        draws = Draws(run["draws"])
        flip = draws.take_flip()
        first = draws.take("choice", [list(PIPELINE.first_short_sides)])
        colours = [draws.take_colours() for _ in range(run["num_frames"])]
        middle = draws.take("choice", [list(PIPELINE.crop_short_sides)])
        crop = draws.take_crop()
        parameters = [flip, first, colours, middle, crop, draws.take("choice", [list(PIPELINE.short_sides)])]
        assert draws.are_used_up
        clip = augmentation.apply(sample(dataset, run["sample"]), parameters)
        tag = f"pipe{run['sample']}_{run['seed']}_"
        compare_image_and_boxes(clip, tag, arrays, facts["recipe"]["normalize"])
        compare_masks_and_labels(clip, tag, arrays)


def test_validation_transform(facts: dict, arrays: dict, dataset: VideoDataset) -> None:
    recipe = facts["recipe"]["validation"]
    settings = AugmentationSettings(short_sides=(recipe["short_side"],), max_long_side=recipe["max_long_side"])
    clip = build_augmentation(settings).apply(sample(dataset, recipe["sample"]), [recipe["short_side"]])
    compare_image_and_boxes(clip, f"val{recipe['sample']}_", arrays, facts["recipe"]["normalize"])
