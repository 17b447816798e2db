"""The prediction of a network that looks at whole clips, and how it is read: masks, scores, categories."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np

from mindvideo.errors import UserError
from mindvideo.masks.rle import empty_mask, encode_mask
from mindvideo.structures import Segmentation
from mindvideo.structures.expect import expect_array

# PARITY(vistr): in a frame where no category reaches this probability the track has no mask at all.
MIN_FRAME_PROBABILITY = 0.001


@dataclasses.dataclass(frozen=True)
class ClipPrediction:
    """Q queries over the T frames of a clip, K categories with ids 0..K-1 (the "nothing" class is not among them).

    ``probabilities`` float32 [Q, T, K]; ``mask_logits`` float32 [Q, T, h, w] at any resolution; ``features`` float32
    [Q, T, C], by which instances are known again, or None. All are finite.
    """

    probabilities: np.ndarray
    mask_logits: np.ndarray
    features: np.ndarray | None = None

    def __post_init__(self) -> None:
        owner = "ClipPrediction"
        expect_array(owner, "probabilities", self.probabilities, shape=("Q", "T", "K"), dtype=np.floating)
        Q, T, _ = self.probabilities.shape
        expect_array(owner, "mask_logits", self.mask_logits, shape=(Q, T, "h", "w"), dtype=np.floating)
        require_finite(self.probabilities, self.mask_logits)
        if self.features is not None:
            expect_array(owner, "features", self.features, shape=(Q, T, "C"), dtype=np.floating)
            require_finite(self.features)


class ClipRunner(Protocol):
    """The network of such a family as a function of the T frames of a window, each as it was prepared for it."""

    def __call__(self, frames: Sequence[Any]) -> ClipPrediction: ...

    def export_plan(self, *, num_frames: int, size: tuple[int, int]) -> Any:
        """The same as one graph, an ExportPlan."""


def require_finite(*outputs: np.ndarray) -> None:
    """UserError where a network's outputs hold NaN or infinity, which would pass for "nothing found"."""
    for output in outputs:
        if output.size and not (np.isfinite(output.min()) and np.isfinite(output.max())):
            raise UserError(
                "the network's outputs are not finite (NaN or infinity): its weights are damaged, or from a training "
                "that diverged; take an earlier checkpoint"
            )


def frame_votes(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [..., K] -> the largest of each frame, float32 [...], and its category, int64 [...]."""
    return probabilities.max(axis=-1), probabilities.argmax(axis=-1)


def score_track(frame_scores: np.ndarray, frame_labels: np.ndarray) -> tuple[float, int]:
    """Of one track over F frames, [F] and [F]: the mean score and the most frequent category (the smallest on ties)."""
    return float(frame_scores.mean()), int(np.bincount(frame_labels).argmax())


def segment_frame(mask_logits: np.ndarray, size: tuple[int, int]) -> Segmentation:
    """Logits [h, w] -> the mask where the sigmoid, after bilinear scaling to ``size`` (H, W), exceeds one half."""
    H, W = size
    highest = mask_logits.max()
    if not np.isfinite(highest):
        require_finite(mask_logits)
    if highest <= 0.0:  # interpolation stays below the largest logit
        return empty_mask(size)
    scaled = cv2.resize(np.ascontiguousarray(mask_logits, np.float32), (W, H), interpolation=cv2.INTER_LINEAR)
    return encode_mask(scaled > 0.0)


def crop_to_valid(logits: np.ndarray, *, padded: tuple[int, int], valid: tuple[int, int]) -> np.ndarray:
    """A map [h, w] over the padded frame -> the valid part of it, at the resolution of the frame."""
    (H, W), (h, w) = padded, valid
    whole = cv2.resize(np.ascontiguousarray(logits, np.float32), (W, H), interpolation=cv2.INTER_LINEAR)
    return whole[:h, :w]
