"""Frames of a video side by side as one picture, as the README and the pages show results.

python tools/overlay_strip.py out/clip/overlay.mp4 docs/own_data.png --frames 5,20,40,55
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from mindvideo.cli.arguments import OneLineParser, run_tool
from mindvideo.data.media.sources import find_videos
from mindvideo.errors import UserError
from mindvideo.files import atomic_path

GAP = 8  # white pixels between two frames


def numbers(string: str) -> list[int]:
    parts = string.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"'{string}': numbers of frames with commas are needed, for instance 5,20,40")
    return [int(part) for part in parts]


def strip(video: str, chosen: list[int], height: int) -> np.ndarray:
    """uint8 RGB [H, W, 3] of the frames in the order given."""
    (source,) = find_videos(video)
    with source.open() as reader:
        found = {frame.index: frame.image for frame in reader.frames() if frame.index in chosen}
    missing = [number for number in chosen if number not in found]
    if missing:
        raise UserError(f"{video} has no frame {missing[0]}")
    width = round(height * found[chosen[0]].shape[1] / found[chosen[0]].shape[0])
    resized = [np.array(Image.fromarray(found[number]).resize((width, height), Image.LANCZOS)) for number in chosen]
    gap = np.full((height, GAP, 3), 255, np.uint8)
    return np.concatenate([part for image in resized for part in (image, gap)][:-1], axis=1)


def main() -> None:
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("output", type=Path)
    parser.add_argument("--frames", type=numbers, required=True, metavar="N,N,...")
    parser.add_argument("--height", type=int, default=180, help="of the picture in pixels (default 180)")
    arguments = parser.parse_args()
    picture = Image.fromarray(strip(arguments.video, arguments.frames, arguments.height))
    with atomic_path(arguments.output) as temporary:
        picture.quantize(256, dither=Image.Dither.NONE).save(temporary, format="PNG", optimize=True)
    print(f"wrote {arguments.output}: {picture.width} x {picture.height}")


if __name__ == "__main__":
    run_tool(main)
