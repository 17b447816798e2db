"""The compiled colour distortion and its twin of NumPy and OpenCV give the same levels."""

from __future__ import annotations

import numpy as np
import pytest

from mindvideo.data.transforms import photometric
from mindvideo.data.transforms.photometric import FrameColours, PhotometricDistortion, distort

needs_library = pytest.mark.skipif(photometric._native_distortion() is None, reason="the compiled library is not built")


def by_twin(frame: np.ndarray, colours: FrameColours, wrap: bool, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    with monkeypatch.context() as patch:
        patch.setattr(photometric, "_native_distortion", lambda: None)
        return distort(frame, colours=colours, wrap=wrap)


def cyclic_difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Levels apart, 255 and 0 being neighbours."""
    apart = np.abs(one.astype(int) - other)
    return np.minimum(apart, 256 - apart)


def picture(kind: str, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """``grey`` has no hue, ``coarse`` many pixels with two equal channels and many at 0."""
    frame = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
    if kind == "grey":
        return np.repeat(frame[..., :1], 3, axis=2)
    return frame // 64 * 64 if kind == "coarse" else frame


@needs_library
@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("kind", ["noise", "grey", "coarse"])
def test_both_implementations(kind: str, wrap: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    draw = PhotometricDistortion().draw
    different = 0
    for colours in draw(rng, (0, 0), 24):
        frame = picture(kind, (int(rng.integers(1, 60)), int(rng.integers(1, 90)) * 8), rng)
        apart = cyclic_difference(
            distort(frame, colours=colours, wrap=wrap), by_twin(frame, colours, wrap, monkeypatch)
        )
        assert apart.max() <= 1, colours
        different += int(apart.sum())
    # A value on the edge of a level: possible where OpenCV was built for other vector instructions.
    assert different < 500


@needs_library
def test_a_mirrored_view_is_read_as_it_lies() -> None:
    rng = np.random.default_rng(6)
    for colours in PhotometricDistortion().draw(rng, (0, 0), 40):
        frame = picture("noise", (int(rng.integers(1, 6)), int(rng.integers(1, 600))), rng)
        part = frame[:, int(rng.integers(frame.shape[1])) :]
        mirrored = distort(part[:, ::-1], colours=colours, wrap=True)
        np.testing.assert_array_equal(
            mirrored, distort(np.ascontiguousarray(part[:, ::-1]), colours=colours, wrap=True)
        )


@needs_library
def test_each_step_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = picture("noise", (40, 67), np.random.default_rng(4))
    steps = [
        {"brightness": -32.0},
        {"contrast": 1.5},
        {"contrast": 0.5, "contrast_first": False},
        {"saturation": 1.5},
        {"hue": 18.0},
        {"hue": -18.0},
        *({"channels": order} for order in range(6)),
    ]
    for step in steps:
        for wrap in (False, True):
            colours = FrameColours(**step)
            made = distort(frame, colours=colours, wrap=wrap)
            assert cyclic_difference(made, by_twin(frame, colours, wrap, monkeypatch)).max() <= 1, step
            if step != {"channels": 0}:
                assert (cyclic_difference(made, frame) > 1).mean() > 0.25, (
                    step
                )  # a turn of the hue moves only one channel


@pytest.mark.parametrize("implementation", ["compiled", "twin"])
def test_a_part_or_a_turned_view_of_a_frame(implementation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if implementation == "twin":
        monkeypatch.setattr(photometric, "_native_distortion", lambda: None)
    frame = picture("noise", (30, 48), np.random.default_rng(5))
    colours = FrameColours(brightness=9.0, saturation=1.2, hue=4.0, channels=3)
    whole = distort(frame, colours=colours, wrap=True)
    part = distort(frame[3:20, 5:37], colours=colours, wrap=True)
    assert cyclic_difference(part, whole[3:20, 5:37]).max() <= 1
    mirrored = distort(frame[:, ::-1], colours=colours, wrap=True)
    assert cyclic_difference(mirrored, whole[:, ::-1]).max() <= 1
