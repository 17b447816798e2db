"""Clips and videos rebuilt from golden files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mindvideo.data.media.lazy import ClipFrames
from mindvideo.data.transforms.sample import ClipSample
from mindvideo.masks.lazy import ClipMasks


def enlarge(small: np.ndarray, cell: int, size: tuple[int, int]) -> np.ndarray:
    """Every pixel of [T, h, w, 3] repeated cell x cell, cut to ``size`` (H, W)."""
    return small.repeat(cell, axis=1).repeat(cell, axis=2)[:, : size[0], : size[1]]


def write_frames(folder: Path, file_names: list[str], frames: np.ndarray) -> None:
    for name, frame in zip(file_names, frames, strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(path)


def write_annotations(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def make_clip(frames: np.ndarray, labels: np.ndarray, boxes: np.ndarray, masks: np.ndarray) -> ClipSample:
    """From frames [T, H, W, 3], labels [N], boxes [N*T, 4] xyxy and masks [N*T, H, W], instance by instance."""
    N, T = len(labels), len(frames)
    boxes = np.asarray(boxes, np.float32).reshape(N, T, 4)
    return ClipSample(
        frames=ClipFrames.of_pixels(frames),
        labels=np.asarray(labels, np.int32),
        boxes=boxes,
        masks=ClipMasks.of_pixels(np.asarray(masks, np.uint8).reshape(N, T, *frames.shape[1:3])),
        present=boxes.any(axis=-1),
        video_id=1,
        frame_indices=np.arange(T),
        key_frame=0,
    )


def unpack(packed: np.ndarray, shape: np.ndarray) -> np.ndarray:
    return np.unpackbits(packed)[: int(np.prod(shape))].reshape(tuple(shape))


def rows(clip: ClipSample) -> tuple[np.ndarray, np.ndarray]:
    """boxes [N*T, 4] and masks [N*T, H, W], instance by instance, as the golden files hold them."""
    pixels = clip.masks.pixels()
    return clip.boxes.reshape(-1, 4), pixels.reshape(-1, *pixels.shape[2:])


def normalise(frames: np.ndarray, mean: list[float], std: list[float]) -> np.ndarray:
    """uint8 [T, H, W, 3] -> f32 [T, 3, H, W] by ImageNet statistics, computed as torchvision does."""
    scaled = frames.astype(np.float32) / np.float32(255)
    normalised = (scaled - np.array(mean, np.float32)) / np.array(std, np.float32)
    return normalised.transpose(0, 3, 1, 2)
