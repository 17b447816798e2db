"""What a family that looks at whole clips says about one clip, and how that is read: masks, scores, categories."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np

from mindvideo.masks.rle import empty_mask, encode_mask
from mindvideo.structures import Segmentation
from mindvideo.structures.expect import expect_array

# PARITY(vistr): in a frame where no category reaches this probability the track has no mask at all.
LEAST_FRAME_PROBABILITY = 0.001


@dataclasses.dataclass(frozen=True)
class ClipPrediction:
    """N slots over the T frames of a clip, K categories whose ids are 0..K-1 (the "nothing" class is not among them).

    ``probabilities`` float32 [N, T, K]; ``mask_logits`` float32 [N, T, h, w] at any resolution.
    """

    probabilities: np.ndarray
    mask_logits: np.ndarray

    def __post_init__(self) -> None:
        owner = "ClipPrediction"
        expect_array(owner, "probabilities", self.probabilities, shape=("N", "T", "K"), dtype=np.floating)
        N, T, _ = self.probabilities.shape
        expect_array(owner, "mask_logits", self.mask_logits, shape=(N, T, "h", "w"), dtype=np.floating)


class ClipRunner(Protocol):
    """The network of such a family as a function of the T frames of a window, each as it was prepared for it."""

    def __call__(self, frames: Sequence[Any]) -> ClipPrediction: ...


def frame_votes(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [..., K] -> the largest of each frame, float32 [...], and its category, int64 [...]."""
    return probabilities.max(axis=-1), probabilities.argmax(axis=-1)


def score_track(frame_scores: np.ndarray, frame_labels: np.ndarray) -> tuple[float, int]:
    """Of one track over F frames, [F] and [F]: the mean score and the most frequent category (the smallest on ties)."""
    return float(frame_scores.mean()), int(np.bincount(frame_labels).argmax())


def segment_frame(mask_logits: np.ndarray, size: tuple[int, int]) -> Segmentation:
    """Logits [h, w] -> the mask where the sigmoid, after bilinear scaling to ``size`` (H, W), exceeds one half."""
    H, W = size
    if mask_logits.max() <= 0.0:  # interpolation stays below the largest logit
        return empty_mask(size)
    scaled = cv2.resize(np.ascontiguousarray(mask_logits, np.float32), (W, H), interpolation=cv2.INTER_LINEAR)
    return encode_mask(scaled > 0.0)
