"""Tracks that are known again by their features, also after windows in which they were not seen.

The bank keeps a feature vector of each track, a moving average over the windows that showed it. The queries of a new
window are assigned to the tracks by an association of the two sets of vectors and by the overlap of masks on shared
frames; a query that is assigned to none begins a track.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from mindvideo.errors import UserError
from mindvideo.inference.scoring.clip_prediction import ClipPrediction
from mindvideo.inference.trackers.linking import tube_overlap

MIN_NODE_SCORE = 0.05  # mean over the frames of a query's best class, for windows after the first
MIN_ASSIGNMENT = 0.5
MIN_OVERLAP = 0.5  # with which a track goes on whatever the features say
OVERLAP_WEIGHT = 0.5  # of the overlap, next to the logarithm of the assignment
MIN_PROBABILITY = 1e-30
TEMPERATURE = 0.05  # of cosines


class Association(NamedTuple):
    """Of the tracks of a bank and the queries of a window."""

    affinity: np.ndarray  # 0..1, [tracks, queries]
    assignment: np.ndarray  # 0..1, [tracks, queries]; of each track or query, whichever are fewer, the sum is 1


class Associate(Protocol):
    def __call__(self, history: np.ndarray, current: np.ndarray) -> Association:
        """Features [tracks, C] and [queries, C], neither of them empty."""


@dataclasses.dataclass
class _Remembered:
    number: int
    features: np.ndarray  # [C]
    last_window: int


class TrackBank:
    """A :class:`~mindvideo.inference.trackers.linking.Linking` by features.

    ``associate`` compares tracks and queries. At most ``max_tracks`` tracks are remembered: those that were seen last.
    ``memory``: share of the old features in the moving average. A pair is accepted with at least ``min_affinity`` and
    an assignment of at least one half, or where the masks overlap by half on the shared frames.

    ``observe``, if given, receives what each window decided: :class:`Decision`.
    """

    def __init__(
        self,
        *,
        associate: Associate,
        max_tracks: int = 20,
        memory: float = 0.5,
        min_affinity: float = 0.3,
        observe: Callable[[Decision], Any] | None = None,
    ) -> None:
        if max_tracks < 1:
            raise UserError(f"TrackBank: max_tracks is {max_tracks}; it must be at least 1")
        self._associate, self._max_tracks, self._memory = associate, max_tracks, memory
        self._min_affinity, self._observe = min_affinity, observe
        self.begin()

    def begin(self) -> None:
        self._bank: list[_Remembered] = []
        self._windows, self._next = 0, 0
        self._before: ClipPrediction | None = None
        self._query_before: dict[int, int] = {}  # number -> query of the window before

    def link(self, window: ClipPrediction, shared: int) -> list[int | None]:
        features, shown = node_features(window), has_mask(window)
        nodes = np.flatnonzero(shown & ((self._windows == 0) | (mean_score(window) >= MIN_NODE_SCORE)))
        found = self._assign(window, nodes, features[nodes], shared)
        numbers: list[int | None] = [None] * len(shown)
        if self._windows == 0:  # a query without a mask is carried on as well, as in a video of one window
            nodes = np.arange(len(shown))
        for query in nodes.tolist():
            numbers[query] = found.get(query)
            if numbers[query] is None:
                numbers[query] = self._next
                self._next += 1
            if shown[query]:
                self._remember(numbers[query], features[query])
        self._bank.sort(key=lambda track: -track.last_window)
        del self._bank[self._max_tracks :]
        self._windows, self._before = self._windows + 1, window
        self._query_before = {number: query for query, number in enumerate(numbers) if number is not None}
        return numbers

    def _assign(self, window: ClipPrediction, nodes: np.ndarray, features: np.ndarray, shared: int) -> dict[int, int]:
        """Query of the window -> number of a track of the bank."""
        if not self._bank or not len(nodes):
            return {}
        history = np.stack([track.features for track in self._bank])
        affinity, assignment = self._associate(history, features)
        overlap = self._overlap(window, nodes, shared)
        score = np.log(np.maximum(assignment, MIN_PROBABILITY)) + OVERLAP_WEIGHT * overlap
        likely = (assignment >= MIN_ASSIGNMENT) & (affinity >= self._min_affinity)
        accepted = {}
        for row, column in zip(*linear_sum_assignment(score, maximize=True)):
            if likely[row, column] or overlap[row, column] >= MIN_OVERLAP:
                accepted[int(nodes[column])] = self._bank[row].number
        if self._observe is not None:
            tracks = [track.number for track in self._bank]
            self._observe(Decision(tracks, nodes.tolist(), affinity, assignment, overlap, accepted))
        return accepted

    def _overlap(self, window: ClipPrediction, nodes: np.ndarray, shared: int) -> np.ndarray:
        """[tracks, nodes], 0 for a track that the window before did not show."""
        overlap = np.zeros((len(self._bank), len(nodes)))
        if shared and self._before is not None:
            current = window.mask_logits[nodes, :shared] > 0.0
            for row, track in enumerate(self._bank):
                query = self._query_before.get(track.number)
                if query is not None:
                    overlap[row] = tube_overlap(self._before.mask_logits[[query], -shared:] > 0.0, current)[0]
        return overlap

    def _remember(self, number: int, features: np.ndarray) -> None:
        for track in self._bank:
            if track.number == number:
                track.features = self._memory * track.features + (1.0 - self._memory) * features
                track.last_window = self._windows
                return
        self._bank.append(_Remembered(number, features, self._windows))


class Decision(NamedTuple):
    """The choice that a bank made for a window, for pictures of it."""

    tracks: Sequence[int]  # numbers, one a row of the matrices
    queries: Sequence[int]  # of the window, one a column
    affinity: np.ndarray
    assignment: np.ndarray
    overlap: np.ndarray
    accepted: dict[int, int]  # query -> number of the track that it goes on


def node_features(window: ClipPrediction) -> np.ndarray:
    """float64 [Q, C]: the mean of a query's features over its frames, by how sure each is to show an instance."""
    if window.features is None:
        raise UserError("linking by features: this network gives none; set inference.linking=overlap")
    sure = np.minimum(np.asarray(window.probabilities, np.float64).sum(axis=2, keepdims=True), 1.0)
    return (window.features * sure).sum(axis=1) / np.maximum(sure.sum(axis=1), 1e-6)


def has_mask(window: ClipPrediction) -> np.ndarray:
    """bool [Q]: some frame has a pixel."""
    return (window.mask_logits > 0.0).any(axis=(1, 2, 3))


def mean_score(window: ClipPrediction) -> np.ndarray:
    """[Q]."""
    return window.probabilities.max(axis=2).mean(axis=1)


def associate_by_cosine(history: np.ndarray, current: np.ndarray) -> Association:
    """Plain features: the cosine of the vectors, and a softmax of it over the larger set."""
    history, current = (
        each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-12) for each in (history, current)
    )
    affinity = np.maximum(history @ current.T, 0.0)
    axis = 1 if len(history) <= len(current) else 0
    exponentials = np.exp((affinity - affinity.max(axis=axis, keepdims=True)) / TEMPERATURE)
    return Association(affinity, exponentials / exponentials.sum(axis=axis, keepdims=True))
