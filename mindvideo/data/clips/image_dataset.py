"""Clips made of labelled single images (COCO): one frame, or an image and moved copies of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mindvideo.data.clips.image_motion import ImageMotion, draw_motion, move_labels, move_picture
from mindvideo.data.labels.images import LabelledImage, read_image_annotations
from mindvideo.data.media.frame_reader import FrameReader
from mindvideo.data.media.lazy import ClipFrames
from mindvideo.data.transforms.sample import ClipSample
from mindvideo.errors import UserError
from mindvideo.masks.extents import mask_extents
from mindvideo.masks.lazy import ClipMasks


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

    def category_ids(self) -> set[int]:
        """The labels that its clips have."""
        return {instance.category_id for image in self.images for instance in image.instances}

    def frame_size(self, index: int) -> tuple[int, int]:
        return self.images[index].height, self.images[index].width

    def clip(self, index: int, rng: np.random.Generator) -> ClipSample:
        image = self.images[index]
        size = (image.height, image.width)
        masks = ClipMasks([[instance.mask] for instance in image.instances], 1, size)
        motions = [None, *(draw_motion(rng) for _ in range(self.num_frames - 1))]
        motions = [motions[t] for t in rng.permutation(self.num_frames)] if self.num_frames > 1 else motions
        frames = self.reader.clip([image.file_name], size)
        if self.num_frames > 1:
            picture = frames
            frames = ClipFrames([_Moved(picture, motion) for motion in motions], size)
            masks = moved_masks(masks.pixels()[:, 0], motions)
        pixels = masks.pixels()
        boxes = mask_extents(pixels)
        if self.num_frames == 1:
            boxes = annotated_boxes(image, boxes)
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


def annotated_boxes(image: LabelledImage, extents: np.ndarray) -> np.ndarray:
    """f32 [N, 1, 4] x0 y0 x1 y1 within the image: the file's boxes, or the ``extents`` of masks without one."""
    boxes = extents.copy()
    for row, instance in zip(boxes, image.instances):
        if instance.box is not None:
            x, y, width, height = instance.box
            row[0] = x, y, x + width, y + height
    return np.clip(boxes, 0, np.array([image.width, image.height] * 2, np.float32))


class _Moved:
    """Loads a moved copy of a picture (a clip of one frame); without a motion the picture itself."""

    def __init__(self, picture: ClipFrames, motion: ImageMotion | None) -> None:
        self.picture, self.motion = picture, motion

    def __call__(self) -> np.ndarray:
        pixels = self.picture.pixels()[0]  # decoded once for all copies
        return pixels if self.motion is None else move_picture(pixels, self.motion)


def moved_masks(masks: np.ndarray, motions: Sequence[ImageMotion | None]) -> ClipMasks:
    """Masks [N, H, W] of a picture -> those of a clip of its moved copies. Copies have no overlaps left."""
    label_map = pack_masks(masks)
    numbers = np.arange(1, len(masks) + 1, dtype=label_map.dtype)[:, None, None]
    frames = [
        masks if motion is None else (move_labels(label_map, motion) == numbers).astype(np.uint8) for motion in motions
    ]
    return ClipMasks.of_pixels(np.stack(frames, axis=1))


def pack_masks(masks: np.ndarray) -> np.ndarray:
    """Label map int16 [H, W] of masks [N, H, W]: 0 is background; where masks overlap the later instance wins."""
    label_map = np.zeros(masks.shape[1:], np.int16)
    for number, mask in enumerate(masks, start=1):
        label_map[mask > 0] = number
    return label_map
