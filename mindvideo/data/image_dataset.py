"""Clips made of labelled single images (COCO): one frame, or an image and moved copies of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from mindvideo.data.broken_frame import BrokenFrameError
from mindvideo.data.clip_frames import ClipFrames
from mindvideo.data.clip_masks import ClipMasks
from mindvideo.data.clip_sample import ClipSample
from mindvideo.data.frame_reader import FrameReader
from mindvideo.data.image_annotations import LabelledImage, read_image_annotations
from mindvideo.data.image_motion import apply_motion, draw_motion
from mindvideo.errors import UserError


class ImageDataset:
    """Samples of a COCO set. With ``num_frames`` of 1 a sample is the image; else it is a clip of the image and
    ``num_frames`` - 1 copies of it, each moved by itself (not one after the other), in random order.
    """

    def __init__(
        self,
        *,
        annotation_file: str | Path,
        image_folder: str | Path,
        num_frames: int,
        category_map: Mapping[int, int] | None = None,
        cache_megabytes: int = 0,
    ) -> None:
        self.images, _ = read_image_annotations(annotation_file, category_map)
        if not self.images:
            raise UserError(f"{annotation_file}: no image has an instance of a category that is used")
        self.num_frames = num_frames
        self.reader = FrameReader(folder=image_folder, cache_megabytes=cache_megabytes)

    def __len__(self) -> int:
        return len(self.images)

    def frame_size(self, index: int) -> tuple[int, int]:
        return self.images[index].height, self.images[index].width

    def clip(self, index: int, rng: np.random.Generator) -> ClipSample:
        image = self.images[index]
        size = (image.height, image.width)
        runs = [[instance.mask] for instance in image.instances]
        if self.num_frames == 1:
            frames, masks = self.reader.clip([image.file_name], size), ClipMasks(runs, 1, size)
        else:
            frames, masks = self._moved_copies(image, ClipMasks(runs, 1, size).pixels()[:, 0], rng)
        pixels = masks.pixels()
        boxes = mask_extents(pixels)
        return ClipSample(
            frames=frames,
            labels=np.array([instance.category_id for instance in image.instances], np.int32),
            boxes=boxes,
            masks=masks,
            present=pixels.any(axis=(2, 3)),
            video_id=image.id,
            frame_indices=np.zeros(self.num_frames, np.int64),
            key_frame=0,
        )

    def _moved_copies(
        self, image: LabelledImage, masks: np.ndarray, rng: np.random.Generator
    ) -> tuple[ClipFrames, ClipMasks]:
        """Frames and masks of a clip, from masks [N, H, W]."""
        picture = self.reader.read(image.file_name)
        if picture.shape[:2] != masks.shape[1:]:
            raise BrokenFrameError(
                f"{self.reader.folder}/{image.file_name}: image of {picture.shape[:2]}, annotated as {masks.shape[1:]}"
            )
        label_map = pack_masks(masks)
        numbers = np.arange(1, len(masks) + 1, dtype=label_map.dtype)[:, None, None]
        frames, frame_masks = [picture], [masks]
        for _ in range(self.num_frames - 1):
            copy, labels = apply_motion(picture, label_map, draw_motion(rng))
            frames.append(copy)
            frame_masks.append((labels == numbers).astype(np.uint8))
        order = rng.permutation(self.num_frames)
        stacked = np.stack([frame_masks[t] for t in order], axis=1)
        return ClipFrames.of_pixels(np.stack([frames[t] for t in order])), ClipMasks.of_pixels(stacked)


def pack_masks(masks: np.ndarray) -> np.ndarray:
    """Label map int16 [H, W] of masks [N, H, W]: 0 is background; where masks overlap the later instance wins."""
    label_map = np.zeros(masks.shape[1:], np.int16)
    for number, mask in enumerate(masks, start=1):
        label_map[mask > 0] = number
    return label_map


def mask_extents(masks: np.ndarray) -> np.ndarray:
    """f32 [..., 4]: first and last column and row (x0, y0, x1, y1, the last included) of masks [..., H, W].

    An empty mask has zeros.
    """
    # PARITY(instanceformer, seqformer): the last pixel, not the one after it, so boxes are one pixel narrow.
    flat = np.ascontiguousarray(masks.reshape(-1, *masks.shape[-2:]), np.uint8)
    boxes = np.zeros((len(flat), 4), np.float32)
    for box, mask in zip(boxes, flat):
        x, y, width, height = cv2.boundingRect(mask)
        if width:
            box[:] = x, y, x + width - 1, y + height - 1
    return boxes.reshape(*masks.shape[:-2], 4)
