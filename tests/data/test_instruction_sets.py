"""Resizing and colours give the same pixels with every instruction set that this processor has.

Run as a program (``python tests/data/test_instruction_sets.py FILE``) it writes what this process's set makes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mindvideo.data.media.resize import Region, _native_resize, resize_part, source_region
from mindvideo.data.transforms.photometric import PhotometricDistortion, distort

ROOT = Path(__file__).resolve().parents[2]


def pictures(rng: np.random.Generator) -> list[np.ndarray]:
    """Of many widths: of a vector's width, below it, just above it, and several blocks."""
    widths = [1, 3, 5, 8, 9, 15, 16, 17, 31, 33, 64, 255, 256, 257, 270, 530]
    return [rng.integers(0, 256, (int(rng.integers(1, 40)), width, 3)).astype(np.uint8) for width in widths]


def resized() -> np.ndarray:
    rng = np.random.default_rng(0)
    parts = []
    for picture in pictures(rng):
        size = picture.shape[:2]
        for new_size in (
            (size[0], 2 * size[1]),
            (7, 11),
            (max(1, size[0] // 3), 40),
            (2 * size[0], max(1, size[1] // 2)),
        ):
            whole = Region(0, new_size[0], 0, new_size[1])
            right = Region(new_size[0] // 2, new_size[0], new_size[1] // 2, new_size[1])
            for wanted in (whole, right):
                given = source_region(size, new_size, wanted)
                parts.append(resize_part(given.of(picture), size, given, new_size, wanted).reshape(-1))
    return np.concatenate(parts)


def distorted() -> np.ndarray:
    rng = np.random.default_rng(1)
    made = []
    for picture in pictures(rng):
        coarse = picture // 64 * 64  # many pixels without a hue or with two equal channels
        for frame in (picture, picture[:, ::-1], coarse):
            for colours in PhotometricDistortion().draw(rng, (0, 0), 4):
                made += [distort(frame, colours=colours, wrap=wrap).reshape(-1) for wrap in (False, True)]
    return np.concatenate(made)


@pytest.fixture(scope="module")
def made_by(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray]]:
    if _native_resize() is None:
        pytest.skip("the compiled library is not built")
    folder = tmp_path_factory.mktemp("instruction_sets")
    made = {}
    for name in ("plain", "avx2", "avx512"):
        environment = {**os.environ, "MINDVIDEO_CPU_ISA": name, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, __file__, str(folder / f"{name}.npz")], env=environment, check=True)
        made[name] = dict(np.load(folder / f"{name}.npz"))
    return made


@pytest.mark.parametrize("name", ["avx2", "avx512"])
def test_resizing(made_by: dict[str, dict[str, np.ndarray]], name: str) -> None:
    assert made_by["plain"]["resized"].size > 100_000
    np.testing.assert_array_equal(made_by[name]["resized"], made_by["plain"]["resized"])


def test_colours(made_by: dict[str, dict[str, np.ndarray]]) -> None:
    """Without fused multiply-add some values fall on the other side of a level."""
    plain, avx2, avx512 = (made_by[name]["distorted"] for name in ("plain", "avx2", "avx512"))
    np.testing.assert_array_equal(avx512, avx2)
    apart = np.abs(plain.astype(int) - avx2)
    apart = np.minimum(apart, 256 - apart)
    assert apart.max() <= 1 and apart.mean() < 0.02


if __name__ == "__main__":
    np.savez(sys.argv[1], resized=resized(), distorted=distorted())
