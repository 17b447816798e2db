"""Videos of plainly coloured discs, and networks that find them by colour: an exact stand-in for a trained one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from mindvideo.inference.output.video_writer import VideoWriter
from mindvideo.inference.scoring.clip_prediction import ClipPrediction
from mindvideo.structures import VideoInstances

COLORS = {1: (220, 30, 30), 2: (30, 200, 40), 3: (40, 60, 230)}  # category -> colour
NUM_CATEGORIES = 4  # 0..3, of which 0 is never seen
BACKGROUND = (90, 90, 90)


def disc(size: tuple[int, int], center: tuple[float, float], radius: float) -> np.ndarray:
    """Bool [H, W]."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius**2


def make_frame(index: int, size: tuple[int, int] = (24, 32), absent: tuple[int, ...] = ()) -> np.ndarray:
    """Three discs that move slowly and never touch; uint8 [H, W, 3]."""
    frame = np.full((*size, 3), BACKGROUND, np.uint8)
    for category, mask in true_masks(index, size, absent).items():
        frame[mask] = COLORS[category]
    return frame


def true_masks(index: int, size: tuple[int, int] = (24, 32), absent: tuple[int, ...] = ()) -> dict[int, np.ndarray]:
    H, W = size
    sway = 0.06 * W * np.sin(index / 7)
    return {
        category: disc(size, (H * (0.3 + 0.2 * (category - 1)), W * (0.2 + 0.3 * (category - 1)) + sway), 0.13 * H)
        for category in COLORS
        if category not in absent
    }


def masks_by_color(frame: np.ndarray) -> dict[int, np.ndarray]:
    """Exact on lossless frames, and right but for the borders on compressed ones."""
    return {category: (np.abs(frame.astype(np.int16) - color) < 50).all(axis=-1) for category, color in COLORS.items()}


def write_frame_folder(folder: Path, length: int, size: tuple[int, int] = (24, 32)) -> Path:
    folder.mkdir(parents=True)
    for index in range(length):
        Image.fromarray(make_frame(index, size)).save(folder / f"frame{index}.png")
    return folder


def write_video(path: Path, length: int, size: tuple[int, int] = (48, 64), frames_per_second: float = 25) -> Path:
    with VideoWriter(path, frames_per_second=frames_per_second) as writer:
        for index in range(length):
            writer.write(make_frame(index, size))
    return path


class ColorClipNetwork:
    """A clip network whose slots come in another order in every window, with one slot that is always empty."""

    def __init__(self, *, shuffle_seed: int | None = None) -> None:
        self.windows: list[np.ndarray] = []
        self._rng = None if shuffle_seed is None else np.random.default_rng(shuffle_seed)

    def __call__(self, frames: Sequence[np.ndarray]) -> ClipPrediction:
        frames = np.stack(frames)
        self.windows.append(frames)
        T, H, W, _ = frames.shape
        N = len(COLORS) + 1
        probabilities = np.full((N, T, NUM_CATEGORIES), 0.0002, np.float32)
        mask_logits = np.full((N, T, H, W), -8.0, np.float32)
        for place, frame in enumerate(frames):
            for slot, (category, mask) in enumerate(masks_by_color(frame).items()):
                if mask.any():
                    mask_logits[slot, place][mask] = 8.0
                    probabilities[slot, place, category] = 0.9
        order = np.arange(N) if self._rng is None else self._rng.permutation(N)
        return ClipPrediction(probabilities[order], mask_logits[order])


class ColorTracker:
    """An online tracker: every category is one track, final at once, or ``delay`` frames later."""

    def __init__(self, *, delay: int = 0) -> None:
        self._delay = delay

    def begin(self, *, size: tuple[int, int], num_frames: int | None, video_id: int | str) -> None:
        self._size, self._video_id = size, video_id
        self._seen: list[dict[int, dict]] = []
        self._emitted = 0

    def feed(self, frame: np.ndarray) -> list[VideoInstances]:
        found = {}
        for category, mask in masks_by_color(frame).items():
            if mask.any():
                encoded = coco_mask.encode(np.asfortranarray(mask))
                found[category] = {"size": list(self._size), "counts": encoded["counts"].decode()}
        self._seen.append(found)
        final = range(self._emitted, max(self._emitted, len(self._seen) - self._delay))
        self._emitted = final.stop
        return [self._result([self._seen[index]]) for index in final]

    def finish(self) -> VideoInstances:
        return self._result(self._seen)

    def _result(self, frames: list[dict[int, dict]]) -> VideoInstances:
        categories = sorted({category for frame in frames for category in frame})
        return VideoInstances(
            video_id=self._video_id,
            size=self._size,
            num_frames=len(frames),
            scores=np.full(len(categories), 0.9, np.float32),
            labels=np.array(categories, np.int64),
            track_ids=np.array(categories, np.int64),
            segmentations=[[frame.get(category) for frame in frames] for category in categories],
        )
