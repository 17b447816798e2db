"""Score and category of a track whose life has any length, in constant memory."""

from __future__ import annotations

import numpy as np

# A track that was seen in n frames has n / (n + YOUTH) of its score: one that a few frames claim may be none.
YOUTH = 2.0


class TrackEvidence:
    """The mean of a track's class probabilities, in which each frame counts by how sure it is.

    So frames in which the object is hidden or half outside do not speak against it.
    """

    def __init__(self) -> None:
        self._sum: np.ndarray = np.zeros(1)  # of probabilities times weights, float64 [K]
        self._weight = 0.0
        self._frames = 0

    def add(self, probabilities: np.ndarray) -> None:
        """Take the probabilities [K] of the next frame."""
        weight = float(probabilities.max())
        self._sum = self._sum + weight * probabilities.astype(np.float64)
        self._weight += weight
        self._frames += 1

    def mean(self) -> np.ndarray:
        """float64 [K]."""
        return self._sum / max(self._weight, 1e-9)

    def score_and_label(self) -> tuple[float, int]:
        """The category of the largest mean, and the score: the square root of that mean, less while it is young.

        That many frames agree makes a track surer than each of them; the root says so and keeps the order.
        """
        mean = self.mean()
        label = int(mean.argmax())
        return float(np.sqrt(mean[label]) * self._frames / (self._frames + YOUTH)), label
