"""Which query of a window continues which track."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from mindvideo.inference.scoring.clip_prediction import ClipPrediction


class Linking(Protocol):
    """How tracks go on from window to window; a :class:`WindowTracker` takes one as its argument."""

    def begin(self) -> None:
        """A new video begins; nothing of the one before counts."""

    def link(self, window: ClipPrediction, shared: int) -> Sequence[int | None]:
        """The number of the track that each query of the next window carries, or None for a query that is none.

        A number that was not given before begins a track; one that an earlier window had goes on. The first ``shared``
        frames of the window are the last of the one before; there may be none.
        """


class OverlapLinking:
    """Queries whose masks overlap on the shared frames.

    The similarity of two queries is the overlap of their tubes on the shared frames, weighed down to one half when
    their categories disagree. The assignment with the largest sum is taken, without pairs below ``min_similarity``.
    """

    def __init__(self, *, min_similarity: float = 0.25) -> None:
        self.min_similarity = min_similarity
        self.begin()

    def begin(self) -> None:
        self._before: ClipPrediction | None = None
        self._numbers: list[int] = []
        self._next = 0

    def link(self, window: ClipPrediction, shared: int) -> list[int]:
        links = {} if self._before is None else self.pairs(self._before, window, shared)
        numbers = []
        for query in range(len(window.probabilities)):
            if query in links:
                numbers.append(self._numbers[links[query]])
            else:
                numbers.append(self._next)
                self._next += 1
        self._before, self._numbers = window, numbers
        return numbers

    def pairs(self, before: ClipPrediction, after: ClipPrediction, shared: int) -> dict[int, int]:
        """Query of ``after`` -> query of ``before``; queries left out begin a new track."""
        if not shared:
            return {}
        similarity = tube_overlap(before.mask_logits[:, -shared:] > 0.0, after.mask_logits[:, :shared] > 0.0)
        agreement = category_agreement(before.probabilities[:, -shared:], after.probabilities[:, :shared])
        similarity = similarity * (0.5 + 0.5 * agreement)
        rows, columns = linear_sum_assignment(similarity, maximize=True)
        pairs = zip(rows, columns)
        return {int(column): int(row) for row, column in pairs if similarity[row, column] >= self.min_similarity}


def tube_overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Masks bool [Q, T, h, w] and [R, T, h, w] -> intersection over union of the tubes, float64 [Q, R]; 0 if empty."""
    first = first.reshape(len(first), -1).astype(np.float32)
    second = second.reshape(len(second), -1).astype(np.float32)
    intersection = (first @ second.T).astype(np.float64)
    union = first.sum(axis=1, dtype=np.float64)[:, None] + second.sum(axis=1, dtype=np.float64)[None] - intersection
    return intersection / np.maximum(union, 1.0)


def category_agreement(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of the mean probabilities [Q, T, K] and [R, T, K] -> float64 [Q, R], between 0 and 1."""
    first, second = (np.asarray(each, np.float64).mean(axis=1) for each in (first, second))  # [Q, K], [R, K]
    lengths = np.linalg.norm(first, axis=1)[:, None] * np.linalg.norm(second, axis=1)[None]
    return first @ second.T / np.maximum(lengths, 1e-12)
