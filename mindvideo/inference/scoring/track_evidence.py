"""Score and category of a track whose life has any length, in constant memory."""

from __future__ import annotations

import numpy as np

# A track of few frames scores as if it had also been seen in frames of this weight in all without a category.
DOUBT = 0.3


class TrackEvidence:
    """The mean of a track's class probabilities, in which each frame counts by how sure it is.

    So frames in which the object is hidden or half outside do not speak against it.
    """

    def __init__(self) -> None:
        self._sum: np.ndarray | float = 0.0  # of probabilities times weights, float64 [K]
        self._weight = 0.0

    def add(self, probabilities: np.ndarray) -> None:
        """Take the probabilities [K] of the next frame."""
        weight = float(probabilities.max())
        self._sum = self._sum + weight * probabilities.astype(np.float64)
        self._weight += weight

    def mean(self) -> np.ndarray:
        """float64 [K]."""
        return self._sum / max(self._weight, 1e-9)

    def score_and_label(self) -> tuple[float, int]:
        """The largest of the means, held back while the track is young, and its category."""
        label = int(np.argmax(self._sum))
        return float(self._sum[label] / (self._weight + DOUBT)), label
