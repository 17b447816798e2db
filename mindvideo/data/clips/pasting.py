"""Objects of one clip pasted on another: training clips that are fuller, and in which more is hidden."""

from __future__ import annotations

import numpy as np

from mindvideo.data.clips.source import ClipSource
from mindvideo.data.media.lazy import ClipFrames
from mindvideo.data.transforms.flip import HorizontalFlip
from mindvideo.data.transforms.sample import ClipSample
from mindvideo.masks.extents import boxes_around
from mindvideo.masks.lazy import ClipMasks

LEAST_LEFT = 0.1  # share of an instance's pixels in a frame; where the pasted ones leave less, it counts as absent


class PastedClips:
    """The clips of ``source``; on a ``share`` of them, some objects of another clip of it are pasted.

    Long videos hold more objects at a time than most clips of a few frames, and what is missed in them is what
    others hide.
    """

    def __init__(self, *, source: ClipSource, share: float) -> None:
        self.source = source
        self.share = share

    def __len__(self) -> int:
        return len(self.source)

    def category_ids(self) -> set[int]:
        return self.source.category_ids()

    def frame_size(self, index: int) -> tuple[int, int]:
        return self.source.frame_size(index)

    def clip(self, index: int, rng: np.random.Generator) -> ClipSample:
        clip = self.source.clip(index, rng)
        if rng.random() >= self.share:
            return clip
        above = fitted(self.source.clip(int(rng.integers(len(self.source))), rng), clip.size, rng)
        seen = np.flatnonzero(above.masks.pixels().any(axis=(1, 2, 3)))
        if not len(seen):
            return clip
        some = rng.permutation(seen)[: int(rng.integers(1, len(seen) + 1))]
        return pasted(clip, above.keep_instances(np.sort(some)))


def fitted(clip: ClipSample, size: tuple[int, int], rng: np.random.Generator) -> ClipSample:
    """The clip mirrored or not, scaled until it covers ``size``, and cut to that at a place drawn at random."""
    flip = HorizontalFlip()
    clip = flip.apply(clip, flip.draw(rng, clip.size, clip.num_frames))
    scale = max(wanted / given for wanted, given in zip(size, clip.size))
    height, width = (max(wanted, round(given * scale)) for wanted, given in zip(size, clip.size))
    top, left = int(rng.integers(height - size[0] + 1)), int(rng.integers(width - size[1] + 1))
    for pixels in (clip.frames, clip.masks):
        pixels.resize(height, width)
        pixels.crop(top, left, *size)
    return clip


def pasted(below: ClipSample, above: ClipSample) -> ClipSample:
    """``below`` with the instances of ``above``, which has as many frames of the same size, before it."""
    hidden, cover = below.masks.pixels(), above.masks.pixels()  # uint8 [N, T, H, W], [M, T, H, W]
    visible = hidden * (1 - cover.max(axis=0))
    visible *= enough_left(hidden, visible)[..., None, None]
    seen_before, seen = hidden.any(axis=(2, 3)), visible.any(axis=(2, 3))  # [N, T]
    lost = seen_before & ~seen
    changed = (visible != hidden).any(axis=(2, 3))
    boxes = np.where(changed[..., None], boxes_around(visible), below.boxes)
    kept = ~lost.any(axis=1) | seen.any(axis=1)  # the others have vanished from the clip
    return ClipSample(
        frames=ClipFrames([_Pasted(below.frames, above, t) for t in range(below.num_frames)], below.size),
        labels=np.concatenate([below.labels[kept], above.labels]),
        boxes=np.concatenate([boxes[kept], boxes_around(cover)]),
        masks=ClipMasks.of_pixels(np.concatenate([visible[kept], cover])),
        present=np.concatenate([(below.present & ~lost)[kept], cover.any(axis=(2, 3))]),
        video_id=below.video_id,
        frame_indices=below.frame_indices,
        key_frame=below.key_frame,
    )


def enough_left(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """bool [N, T]: whether masks [N, T, H, W] have kept enough of their pixels to count as seen."""
    count_before, count_after = (masks.sum(axis=(2, 3), dtype=np.int64) for masks in (before, after))
    return count_after >= LEAST_LEFT * count_before


class _Pasted:
    """Loads frame ``t`` of a clip with the instances of another on it. Both clips are decoded as a whole."""

    def __init__(self, below: ClipFrames, above: ClipSample, t: int) -> None:
        self.below, self.above, self.t = below, above, t

    def __call__(self) -> np.ndarray:
        cover = self.above.masks.pixels()[:, self.t].any(axis=0)  # [H, W]
        return np.where(cover[..., None], self.above.frames.pixels()[self.t], self.below.pixels()[self.t])
