"""Which slot of a window continues which slot of the window before."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from mindvideo.inference.scoring.clip_prediction import ClipPrediction


def link_slots(
    before: ClipPrediction, after: ClipPrediction, *, shared: int, least_similarity: float
) -> dict[int, int]:
    """Slot of ``after`` -> slot of ``before``, for the last ``shared`` frames of the one, the first of the other.

    The similarity of two slots is their tube overlap on the shared frames, weighed down to one half when their
    categories disagree. The assignment with the largest sum is taken, without pairs below ``least_similarity``.
    """
    if not shared:
        return {}
    similarity = tube_overlap(before.mask_logits[:, -shared:] > 0.0, after.mask_logits[:, :shared] > 0.0)
    agreement = category_agreement(before.probabilities[:, -shared:], after.probabilities[:, :shared])
    similarity = similarity * (0.5 + 0.5 * agreement)
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    return {int(column): int(row) for row, column in zip(rows, columns) if similarity[row, column] >= least_similarity}


def tube_overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Masks bool [N, F, h, w] and [M, F, h, w] -> intersection over union of the tubes, float64 [N, M]; 0 if empty."""
    first = first.reshape(len(first), -1).astype(np.float32)
    second = second.reshape(len(second), -1).astype(np.float32)
    intersection = (first @ second.T).astype(np.float64)
    union = first.sum(axis=1, dtype=np.float64)[:, None] + second.sum(axis=1, dtype=np.float64)[None] - intersection
    return intersection / np.maximum(union, 1.0)


def category_agreement(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of the mean probabilities [N, F, K] and [M, F, K] -> float64 [N, M], between 0 and 1."""
    first, second = (np.asarray(each, np.float64).mean(axis=1) for each in (first, second))  # [N, K], [M, K]
    lengths = np.linalg.norm(first, axis=1)[:, None] * np.linalg.norm(second, axis=1)[None]
    return first @ second.T / np.maximum(lengths, 1e-12)
