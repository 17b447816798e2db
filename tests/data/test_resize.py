"""Resizing part by part gives the pixels of resizing the whole with Pillow, by either implementation."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from mindvideo.data.media import resize
from mindvideo.data.media.lazy import Crop, Mirror, Resize, run_chain
from mindvideo.data.media.resize import Region, resize_part, source_region


@pytest.fixture(params=["compiled", "pillow"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "pillow":
        monkeypatch.setattr(resize, "_native_resize", lambda: None)
    elif resize._native_resize() is None:
        pytest.skip("the compiled library is not built")
    return request.param


def whole(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def test_any_part_of_any_size(implementation: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        height, width, new_height, new_width = (int(side) for side in rng.integers(2, 90, 4))
        picture = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        rows = sorted(rng.choice(new_height + 1, 2, replace=False).tolist())
        columns = sorted(rng.choice(new_width + 1, 2, replace=False).tolist())
        wanted, size, new_size = Region(*rows, *columns), (height, width), (new_height, new_width)
        given = source_region(size, new_size, wanted)
        made = resize_part(given.of(picture), size, given, new_size, wanted)
        np.testing.assert_array_equal(made, wanted.of(whole(picture, new_size)))


def test_a_chain_equals_its_steps_on_whole_frames(implementation: str) -> None:
    rng = np.random.default_rng(1)
    frame = rng.integers(0, 256, (90, 140, 3)).astype(np.uint8)
    steps = [Mirror(), Resize(70, 120), lambda part: 255 - part, Resize(50, 77), Crop(9, 20, 30, 41), Resize(25, 33)]
    expected = whole(255 - whole(np.ascontiguousarray(cv2.flip(frame, 1)), (70, 120)), (50, 77))
    expected = whole(np.ascontiguousarray(expected[9:39, 20:61]), (25, 33))
    made = np.empty_like(expected)
    run_chain(frame, steps, made)
    np.testing.assert_array_equal(made, expected)


def test_a_part_that_lacks_pixels_is_refused() -> None:
    if resize._native_resize() is None:
        pytest.skip("the compiled library is not built")
    picture = np.zeros((10, 10, 3), np.uint8)
    with pytest.raises(ValueError, match="does not hold what"):
        resize_part(picture, (20, 20), Region(0, 10, 0, 10), (10, 10), Region(0, 10, 0, 10))
