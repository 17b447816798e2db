"""The chain of clip transforms of SeqFormer and MS-STS VIS against the numbers of the original code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mindvideo.data.feed.batch import normalised_boxes
from mindvideo.data.transforms.flip import HorizontalFlip
from mindvideo.data.transforms.instances import DropVanished
from mindvideo.data.transforms.resize import RandomCrop, ResizeShortSide
from mindvideo.data.transforms.sample import ClipSample
from tests.golden.fill import make_input
from tests.parity.data_fixtures import make_clip, normalise, rows


@pytest.fixture(scope="module")
def facts(golden: Path) -> dict:
    return json.loads((golden / "mssts/data/transforms.json").read_text())


@pytest.fixture(scope="module")
def arrays(golden: Path) -> dict[str, np.ndarray]:
    return dict(np.load(golden / "mssts/data/transforms.npz"))


def input_clip(facts: dict) -> ClipSample:
    recipe = facts["make_input"]
    made = make_input(recipe["name"], recipe["shape"], recipe["seed"], recipe["low"], recipe["high"]).astype(np.uint8)
    frames = made[:, ::8, ::8].repeat(8, axis=1).repeat(8, axis=2)[:, : made.shape[1], : made.shape[2]]
    boxes = np.array([box or [0, 0, 0, 0] for track in facts["boxes_xyxy_input"] for box in track], np.float32)
    masks = np.zeros((len(boxes), *frames.shape[1:3]), np.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.astype(int)):
        mask[y0:y1, x0:x1] = 1
    return make_clip(frames, np.array(facts["labels"]), boxes, masks)


def apply_step(clip: ClipSample, name: str, settings: dict) -> ClipSample:
    if "hflip" in name:
        return HorizontalFlip().apply(clip, True)
    if "resize" in name:
        resize = ResizeShortSide(short_sides=[settings["short"]], max_long_side=settings["max"])
        return resize.apply(clip, settings["short"])
    if "crop" in name:
        return RandomCrop(min_side=1, max_side=1).apply(clip, tuple(settings[side] for side in "ijhw"))
    return DropVanished().apply(clip) if "check" in name else clip


def test_every_step(facts: dict, arrays: dict) -> None:
    clip = input_clip(facts)
    for name, _, _ in facts["steps"]:
        settings = facts["operations"].get(name, {})
        clip = apply_step(clip, name, settings)
        boxes, masks = rows(clip)
        image = clip.frames.pixels()
        if "box_minimum" in settings:
            image = normalise(image, settings["mean"], settings["std"])
            boxes = normalised_boxes(clip, settings["box_minimum"]).reshape(-1, 4)
        described = facts["tensors"]
        stride = described[f"{name}.images"]["flat_stride"]
        np.testing.assert_allclose(image.reshape(-1)[::stride], arrays[f"{name}.images"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(boxes.reshape(-1), arrays[f"{name}.boxes"], rtol=0, atol=2e-7)
        np.testing.assert_array_equal(np.packbits(masks), arrays[f"{name}.masks_packbits"])
        np.testing.assert_array_equal(clip.labels, arrays[f"{name}.labels"])
        assert list(clip.size) == arrays[f"{name}.size"].tolist()
