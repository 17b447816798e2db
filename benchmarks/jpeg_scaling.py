"""JPEG frames decoded at half their size, where a transform shrinks them anyway, against decoding them whole.

    python -m benchmarks.jpeg_scaling                 720p frames to a short side of 300

libjpeg-turbo can leave out the fine half of a picture's frequencies while it decodes (Pillow: ``Image.draft``). Printed
are the times of a frame up to the size of the network by both ways, by turns, and how far the pixels lie apart.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.data import make_set
from mindvideo.data.media.frame_size import resize_frame, short_side_size


def whole(path: Path, size: tuple[int, int]) -> np.ndarray:
    with Image.open(path) as picture:
        return resize_frame(np.asarray(picture.convert("RGB")), size)


def halved(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The smallest of the sizes that the decoder offers which is no smaller than ``size``."""
    with Image.open(path) as picture:
        picture.draft("RGB", size[::-1])
        return resize_frame(np.asarray(picture.convert("RGB")), size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark_data"))
    parser.add_argument("--short-side", type=int, default=300)
    parser.add_argument("--frames", type=int, default=36)
    arguments = parser.parse_args()
    make_set(arguments.folder, 1)
    paths = sorted((arguments.folder / "train/JPEGImages").rglob("*.jpg"))[: arguments.frames]
    with Image.open(paths[0]) as picture:
        size = short_side_size(picture.size[::-1], short_side=arguments.short_side)
    seconds: dict[str, list[float]] = {"whole": [], "halved": []}
    differences = []
    for path in paths:
        pictures = []
        for way in (whole, halved):
            began = time.perf_counter()
            pictures.append(way(path, size).astype(np.int16))
            seconds[way.__name__].append(time.perf_counter() - began)
        differences.append(np.abs(pictures[0] - pictures[1]))
    for name, taken in seconds.items():
        print(f"{name}: {1000 * statistics.median(taken):.1f} ms a frame to {size[0]} x {size[1]}")
    levels = np.concatenate([each.ravel() for each in differences])
    most = np.percentile(levels, 99)
    print(f"pixels differ by {levels.mean():.2f} of 255 levels on average, one in a hundred by {most:.0f} or more")


if __name__ == "__main__":
    main()
