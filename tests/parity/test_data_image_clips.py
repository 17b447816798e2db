"""The pieces that make clips of images, with recorded parameters, against the numbers of the original code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mindvideo.data.clips.image_dataset import pack_masks
from mindvideo.data.clips.image_motion import (
    add_brightness,
    add_hue_and_saturation,
    blur,
    labels_in_perspective,
    motion_kernel,
    picture_in_perspective,
    shift_and_turn_labels,
    shift_and_turn_picture,
)
from mindvideo.data.labels.images import read_category_map
from mindvideo.masks.extents import mask_extents

# An interpolated value that lies between two levels to within float32 rounding may go either way.
MOST_ROUNDED_OTHERWISE = 1e-3
MAPS = Path(__file__).resolve().parents[2] / "datas/maps"


@pytest.fixture(scope="module")
def folder(golden: Path) -> Path:
    return golden / "instanceformer/data"


@pytest.fixture(scope="module")
def facts(folder: Path) -> dict:
    return json.loads((folder / "image_to_seq.json").read_text())


@pytest.fixture(scope="module")
def arrays(folder: Path) -> dict[str, np.ndarray]:
    return dict(np.load(folder / "image_to_seq.npz"))


@pytest.fixture(scope="module")
def image(facts: dict, arrays: dict) -> np.ndarray:
    small = arrays["augimg_lowres_uint8"]
    cell = facts["input"]["image_hw"][0] // small.shape[0]
    return small.repeat(cell, axis=0).repeat(cell, axis=1)


def test_masks_are_packed_with_the_later_on_top(facts: dict, arrays: dict) -> None:
    masks = np.zeros((len(facts["input"]["masks_y0_y1_x0_x1"]), *facts["input"]["image_hw"]), np.uint8)
    for mask, (y0, y1, x0, x1) in zip(masks, facts["input"]["masks_y0_y1_x0_x1"]):
        mask[y0:y1, x0:x1] = 1
    np.testing.assert_array_equal(pack_masks(masks), arrays["condensed"])


def assert_same_picture(given: np.ndarray, expected: np.ndarray, what: str) -> None:
    difference = np.abs(given.astype(int) - expected.astype(int))
    assert difference.max() <= 1, what
    assert (difference > 0).mean() <= MOST_ROUNDED_OTHERWISE, what


def test_pieces(facts: dict, arrays: dict, image: np.ndarray) -> None:
    label_map = arrays["condensed"].astype(np.int16)
    for name, settings in facts["pieces"].items():
        labels = None
        if name.startswith("affine"):
            shift, degrees = settings["shift_fraction_both_axes"], settings["rotate_degrees"]
            picture = shift_and_turn_picture(image, shift, degrees)
            labels = shift_and_turn_labels(label_map, shift, degrees)
        elif name.startswith("persp"):
            size = tuple(int(side) for side in arrays[f"{name}_out_hw"])
            picture = picture_in_perspective(image, arrays[f"{name}_matrix"], size)
            labels = labels_in_perspective(label_map, arrays[f"{name}_matrix"], size)
        elif name.startswith("add"):
            picture = add_brightness(image, settings["add"])
        elif name.startswith("huesat"):
            picture = add_hue_and_saturation(image, settings["value"])
        else:
            kernel = motion_kernel(settings["kernel"], settings["angle_degrees"], settings["direction"])
            np.testing.assert_allclose(kernel, arrays[f"{name}_kernel"], atol=1e-6, err_msg=name)
            picture = blur(image, kernel)
        assert_same_picture(picture, arrays[f"{name}_img"], name)
        if labels is not None:
            np.testing.assert_array_equal(labels, arrays[f"{name}_seg"], err_msg=name)


def test_boxes_of_masks(arrays: dict) -> None:
    """The original marks an empty mask by (1e8, 1e8, 0, 0) and zeroes such boxes later; here they are zeros at once."""
    masks = np.concatenate([arrays["m2b_in"], np.zeros_like(arrays["m2b_in"][:1])])
    expected = np.where(arrays["m2b_out"][:, :1] == 1e8, 0, arrays["m2b_out"])
    np.testing.assert_array_equal(mask_extents(masks), expected)


@pytest.mark.parametrize("target, key", [("ytvis19", "ytvis19"), ("ytvis21", "ytvis21_22"), ("ovis", "ovis")])
def test_category_maps(folder: Path, target: str, key: str) -> None:
    facts = json.loads((folder / "category_maps.json").read_text())[key]
    published = read_category_map(MAPS / f"coco_to_{target}.json", "published")
    assert published == {row["coco_id"]: row["id"] for row in facts["coco_map_original"]}
    corrected = dict(published)
    for row in facts["suspicious"]:
        del corrected[row["coco_id"]]
        if row["corrected"] is not None:
            corrected[row["coco_id"]] = row["corrected"]
    assert read_category_map(MAPS / f"coco_to_{target}.json", "corrected") == corrected
