"""Clips of one batch padded to one frame size and one number of instances."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mindvideo.data.transforms.sample import ClipSample
from mindvideo.errors import UserError
from mindvideo.structures.clip import CLIP_BATCH_COLUMNS, ClipBatch, sampled_length

SIZE_STEP = 32  # without buckets the canvas is rounded up to this

_PADDED = ("images", "masks")  # columns that travel without their padding
Layout = list[tuple[tuple[int, ...], str]]  # shape and dtype of each column of a batch


def fresh_columns(layout: Layout) -> list[np.ndarray]:
    """New arrays of that layout, not yet filled."""
    return [np.empty(shape, dtype) for shape, dtype in layout]


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
        return self.unpack(self.pack(clips))

    def pack(
        self, clips: Sequence[ClipSample], columns_for: Callable[[Layout], list[np.ndarray]] = fresh_columns
    ) -> list[np.ndarray]:
        """The columns of the batch as they travel, written to the arrays that ``columns_for`` provides.

        Without padding: images and masks are of the size of the largest clip, and masks have as many rows as the clips
        have instances.
        """
        clips = [self._largest(clip) for clip in clips]
        B, T, N = len(clips), clips[0].num_frames, self.max_instances
        h, w = np.max([clip.size for clip in clips], axis=0).tolist()
        max_present = max(clip.num_instances for clip in clips)
        mask_size = [sampled_length(side, self.mask_stride) for side in (h, w)]
        layout: dict[str, tuple[tuple[int, ...], str]] = {
            "images": ((B, T, h, w, 3), "u1"),
            "sizes": ((B, 2), "i4"),
            "labels": ((B, N), "i4"),
            "boxes": ((B, N, T, 4), "f4"),
            "masks": ((B, max_present, T, *mask_size), "u1"),
            "present": ((B, N, T), "?"),
            "exists": ((B, N), "?"),
            "clip_ids": ((B, 2), "i8"),
        }
        columns = columns_for([layout[name] for name in CLIP_BATCH_COLUMNS])
        batch = dict(zip(CLIP_BATCH_COLUMNS, columns))
        for name in ("labels", "boxes", "present", "exists"):
            batch[name][:] = 0
        for b, clip in enumerate(clips):
            n = clip.num_instances
            _write_to_corner(batch["images"][b], clip.frames.pixels())
            batch["masks"][b, n:] = 0
            for target, masks in zip(batch["masks"][b], clip.masks.sampled(self.mask_stride)):
                _write_to_corner(target, masks)
            batch["sizes"][b] = clip.size
            batch["labels"][b, :n] = clip.labels
            batch["boxes"][b, :n] = normalised_boxes(clip, self.box_minimum)
            batch["present"][b, :n] = clip.present
            batch["exists"][b, :n] = True
            batch["clip_ids"][b] = clip.video_id, clip.key_frame
        return columns

    def unpack(self, columns: Sequence[np.ndarray]) -> ClipBatch:
        """The batch of packed columns, padded, in memory of its own."""
        batch = {name: column.copy() for name, column in zip(CLIP_BATCH_COLUMNS, columns) if name not in _PADDED}
        packed = {name: column for name, column in zip(CLIP_BATCH_COLUMNS, columns) if name in _PADDED}
        H, W = self.canvas.size_for([tuple(size) for size in batch["sizes"].tolist()])
        B, T = packed["images"].shape[:2]
        images = np.empty((B, T, H, W, 3), np.uint8)
        for canvas, content in zip(images, packed["images"]):
            _write_to_corner(canvas, content)
        # Most of it is never touched, so it comes as zero pages.
        masks = np.zeros(
            (B, self.max_instances, T, *(sampled_length(side, self.mask_stride) for side in (H, W))), np.uint8
        )
        _, max_present, _, h, w = packed["masks"].shape
        masks[:, :max_present, :, :h, :w] = packed["masks"]
        return ClipBatch(images=images, masks=masks, **batch)

    def _largest(self, clip: ClipSample) -> ClipSample:
        if clip.num_instances <= self.max_instances:
            return clip
        areas = clip.masks.pixels().sum(axis=(1, 2, 3), dtype=np.int64)
        return clip.keep_instances(np.sort(np.argsort(-areas, kind="stable")[: self.max_instances]))


def _write_to_corner(canvas: np.ndarray, content: np.ndarray) -> None:
    """``content`` [T, h, w, ...] to the top left of ``canvas`` [T, H, W, ...], zeros to the rest."""
    h, w = content.shape[1:3]
    canvas[:, :h, :w] = content
    canvas[:, :h, w:] = 0
    canvas[:, h:] = 0
