"""Intersections and areas of all detections and truths of one video, exact, frame by frame.

Two implementations of one signature: the compiled one of ``custom_ops`` and, where it is not built, one call of
pycocotools a frame. ``MINDVIDEO_OPS=reference`` forces the second. Neither decodes a mask to pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from mindvideo.masks.forms import Tube
from mindvideo.masks.native import native_overlap
from mindvideo.masks.runs import first_broken

_AREAS_AT_ONCE = 255  # for more, pycocotools makes an array of the number as uint8, an error in numpy 2


class BrokenMaskError(ValueError):
    """A mask that is not a whole mask of its video's frame. ``track`` counts detections first, then truths."""

    def __init__(self, track: int, frame: int, pixels: int) -> None:
        super().__init__(f"frame {frame}: the RLE string is damaged, or its runs do not cover the {pixels} pixels")
        self.track = track
        self.frame = frame


@dataclasses.dataclass(frozen=True)
class TubeOverlap:
    """N detections against G truths over T frames, in pixels.

    ``intersections`` int64 [T, N, G] (0 for pairs that were not wanted), ``detection_areas`` int64 [N, T],
    ``truth_areas`` int64 [G, T].
    """

    intersections: np.ndarray
    detection_areas: np.ndarray
    truth_areas: np.ndarray

    def tube_iou(self) -> np.ndarray:
        """[N, G]: intersections summed over the frames, over unions summed over the frames; 0 for empty pairs."""
        common = self.intersections.sum(0)
        union = self.detection_areas.sum(1)[:, None] + self.truth_areas.sum(1) - common
        return np.divide(common, union, out=np.zeros(common.shape), where=union > 0)

    def frame_iou(self) -> np.ndarray:
        """[T, N, G]: mask IoU in every frame; 0 for empty pairs."""
        union = self.detection_areas.T[:, :, None] + self.truth_areas.T[:, None, :] - self.intersections
        return np.divide(self.intersections, union, out=np.zeros(union.shape), where=union > 0)


def tube_overlap(
    detections: Sequence[Tube], truths: Sequence[Tube], *, pixels: int, wanted: np.ndarray | None = None
) -> TubeOverlap:
    """Overlap of tubes of equal length whose frames have ``pixels`` pixels.

    ``wanted`` bool [N, G] limits the pairs; all by default. A string that is not a whole mask raises BrokenMaskError.
    """
    if wanted is None:
        wanted = np.ones((len(detections), len(truths)), bool)
    implementation = _overlap_compiled if native_overlap() is not None else _overlap_reference
    return implementation(detections, truths, pixels, wanted)


def _overlap_compiled(
    detections: Sequence[Tube], truths: Sequence[Tube], pixels: int, wanted: np.ndarray
) -> TubeOverlap:
    N, G = len(detections), len(truths)
    tubes = [*detections, *truths]
    T = len(tubes[0]) if tubes else 0
    strings = [string for tube in tubes for string in tube]
    offsets = np.zeros(len(strings) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, strings), np.int64, len(strings)), out=offsets[1:])
    areas = np.zeros((N + G, T), np.int64)
    intersections = np.zeros((T, N, G), np.int64)
    pairs = np.ascontiguousarray(wanted, dtype=np.uint8)
    function = native_overlap()
    assert function is not None, "tube_overlap chooses"
    broken = function(
        b"".join(strings),
        offsets.ctypes.data,
        *(N, G, T, pixels),
        pairs.ctypes.data,
        areas.ctypes.data,
        intersections.ctypes.data,
    )
    if broken >= 0:
        raise BrokenMaskError(track=broken // T, frame=broken % T, pixels=pixels)
    return TubeOverlap(intersections, areas[:N], areas[N:])


def _overlap_reference(
    detections: Sequence[Tube], truths: Sequence[Tube], pixels: int, wanted: np.ndarray
) -> TubeOverlap:
    N, G = len(detections), len(truths)
    tubes = [*detections, *truths]
    T = len(tubes[0]) if tubes else 0
    strings = [string for tube in tubes for string in tube]
    broken = first_broken(strings, pixels)
    if broken is not None:
        raise BrokenMaskError(track=broken // T, frame=broken % T, pixels=pixels)
    # pycocotools compares only masks of one size; any size with these pixels gives the same run arithmetic.
    areas = np.zeros(len(strings), np.int64)
    filled = [index for index, string in enumerate(strings) if string]
    for begin in range(0, len(filled), _AREAS_AT_ONCE):
        part = filled[begin : begin + _AREAS_AT_ONCE]
        areas[part] = coco_mask.area([{"size": [pixels, 1], "counts": strings[index]} for index in part])
    areas = areas.reshape(N + G, T)
    intersections = np.zeros((T, N, G), np.int64)
    for frame in range(T):
        rows = [d for d in range(N) if detections[d][frame] and wanted[d].any()]
        columns = [g for g in range(G) if truths[g][frame]]
        if not rows or not columns:
            continue
        # For crowds pycocotools gives intersection / area of the detection: the product below is within 1e-6 of the
        # integer, so that rounding recovers it exactly.
        shares = coco_mask.iou(
            [{"size": [pixels, 1], "counts": detections[d][frame]} for d in rows],
            [{"size": [pixels, 1], "counts": truths[g][frame]} for g in columns],
            [1] * len(columns),
        )
        common = np.rint(shares * areas[rows, frame][:, None]).astype(np.int64)
        intersections[frame][np.ix_(rows, columns)] = common * wanted[np.ix_(rows, columns)]
    return TubeOverlap(intersections, areas[:N], areas[N:])
