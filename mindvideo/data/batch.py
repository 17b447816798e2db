"""Clips of one batch padded to one frame size and one number of instances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mindvideo.data.clip_sample import ClipSample
from mindvideo.errors import UserError
from mindvideo.structures.clip import ClipBatch, sampled_length

SIZE_STEP = 32  # without buckets the canvas is rounded up to this


class Canvas:
    """Chooses the padded (H, W) of a batch: the smallest of the buckets that holds all its clips.

    ``buckets`` is a short list of (H, W), because every new shape compiles a new graph. With no buckets each batch is
    padded to its own largest clip, rounded up to 32.
    """

    def __init__(self, *, buckets: Sequence[tuple[int, int]]) -> None:
        self.buckets = sorted(
            ((int(h), int(w)) for h, w in buckets), key=lambda bucket: (bucket[0] * bucket[1], bucket)
        )

    def size_for(self, sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
        height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
        if not self.buckets:
            return -(-height // SIZE_STEP) * SIZE_STEP, -(-width // SIZE_STEP) * SIZE_STEP
        for bucket in self.buckets:
            if bucket[0] >= height and bucket[1] >= width:
                return bucket
        raise UserError(
            f"no bucket holds clips of {height} x {width} (height x width); data.buckets has "
            f"{', '.join(f'{h} x {w}' for h, w in self.buckets)}: add a larger one or lower data.max_long_side"
        )


def normalised_boxes(clip: ClipSample, minimum: float) -> np.ndarray:
    """cx cy w h in units of the frame, f32 [N, T, 4], no value below ``minimum``."""
    height, width = clip.size
    first, last = clip.boxes[..., :2], clip.boxes[..., 2:]
    boxes = np.concatenate([(first + last) / 2, last - first], axis=-1)
    boxes = boxes / np.array([width, height, width, height], np.float32)
    return np.maximum(boxes, np.float32(minimum)) if minimum > 0 else boxes


class Collate:
    """Turns B clips into a :class:`ClipBatch`. Of more than ``max_instances`` instances the largest are kept.

    ``box_minimum``: boxes of absent frames get this value in all four numbers instead of 0. ``mask_stride``: as
    published, a family whose masks come at a stride compares each of their cells with one pixel; only those are made.
    """

    def __init__(self, *, canvas: Canvas, max_instances: int, box_minimum: float = 0.0, mask_stride: int = 1) -> None:
        self.canvas = canvas
        self.max_instances = max_instances
        self.box_minimum = box_minimum
        self.mask_stride = mask_stride

    def __call__(self, clips: Sequence[ClipSample]) -> ClipBatch:
        B, T, N = len(clips), clips[0].num_frames, self.max_instances
        H, W = self.canvas.size_for([clip.size for clip in clips])
        images = np.zeros((B, T, H, W, 3), np.uint8)
        masks = np.zeros((B, N, T, *(sampled_length(side, self.mask_stride) for side in (H, W))), np.uint8)
        labels = np.zeros((B, N), np.int32)
        boxes = np.zeros((B, N, T, 4), np.float32)
        present = np.zeros((B, N, T), bool)
        exists = np.zeros((B, N), bool)
        for b, clip in enumerate(clips):
            clip = self._largest(clip)
            n, (h, w) = clip.num_instances, clip.size
            images[b, :, :h, :w] = clip.frames.pixels()
            sampled = clip.masks.sampled(self.mask_stride)
            masks[b, :n, :, : sampled.shape[2], : sampled.shape[3]] = sampled
            labels[b, :n] = clip.labels
            boxes[b, :n] = normalised_boxes(clip, self.box_minimum)
            present[b, :n] = clip.present
            exists[b, :n] = True
        return ClipBatch(
            images=images,
            sizes=np.array([clip.size for clip in clips], np.int32),
            labels=labels,
            boxes=boxes,
            masks=masks,
            present=present,
            exists=exists,
            clip_ids=np.array([(clip.video_id, clip.key_frame) for clip in clips], np.int64),
        )

    def _largest(self, clip: ClipSample) -> ClipSample:
        if clip.num_instances <= self.max_instances:
            return clip
        areas = clip.masks.pixels().sum(axis=(1, 2, 3), dtype=np.int64)
        return clip.keep_instances(np.sort(np.argsort(-areas, kind="stable")[: self.max_instances]))
