"""How the windows' class probabilities become scores and categories of tracks: a rule for each way of publishing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from mindvideo.inference.scoring.clip_prediction import MIN_FRAME_PROBABILITY, frame_votes, score_track

# PARITY(seqformer): an entry that scores less than this has no mask in any frame.
MIN_PAIR_SCORE = 0.001


class TrackScores(Protocol):
    """The evidence of one track, gathered frame by frame."""

    def add(self, probabilities: np.ndarray) -> bool:
        """Take the probabilities [K] of the next frame; whether the track has a mask there."""

    def best(self) -> float:
        """Its score, to compare tracks by."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One record of a result: a track (by its place among those asked for) as one category."""

    track: int
    score: float
    label: int
    has_masks: bool = True


class ScoreRule(Protocol):
    """``one_entry``: a track is one record; otherwise one for each category that it is given."""

    one_entry: bool

    def begin_track(self) -> TrackScores: ...

    def entries(self, tracks: Sequence[Any]) -> list[Entry]:
        """The records, in the order of the tracks, each as ``begin_track`` gave it."""


class FrameVotes:
    """The best category of every frame; frames without a likely one have no mask."""

    def __init__(self) -> None:
        self._scores: list[float] = []
        self._labels: list[int] = []

    def add(self, probabilities: np.ndarray) -> bool:
        score, label = frame_votes(probabilities)
        self._scores.append(float(score))
        self._labels.append(int(label))
        return bool(score >= MIN_FRAME_PROBABILITY)

    def vote(self) -> tuple[float, int]:
        return score_track(np.asarray(self._scores, np.float32), np.asarray(self._labels))

    def best(self) -> float:
        return self.vote()[0]


class VoteByFrame:
    """Mean score of the frames, most frequent category; every track is one record."""

    one_entry = True

    def begin_track(self) -> FrameVotes:
        return FrameVotes()

    def entries(self, tracks: Sequence[FrameVotes]) -> list[Entry]:
        return [Entry(place, *track.vote()) for place, track in enumerate(tracks)]


class MeanProbabilities:
    """The mean probabilities of a track over its frames."""

    def __init__(self) -> None:
        self._sum: np.ndarray = np.zeros(1)  # of the frames so far, float64 [K]
        self._frames = 0

    def add(self, probabilities: np.ndarray) -> bool:
        self._sum = self._sum + probabilities.astype(np.float64)
        self._frames += 1
        return True

    def mean(self) -> np.ndarray:
        """float32 [K]."""
        return (self._sum / self._frames).astype(np.float32)

    def best(self) -> float:
        return float(self.mean().max())


class BestPairs:
    """The ``pairs`` best (track, category) of the video; a track is a record for each of its categories."""

    one_entry = False

    def __init__(self, *, pairs: int) -> None:
        self.pairs = pairs

    def begin_track(self) -> MeanProbabilities:
        return MeanProbabilities()

    def entries(self, tracks: Sequence[MeanProbabilities]) -> list[Entry]:
        if not tracks:
            return []
        probabilities = np.stack([track.mean() for track in tracks])  # [N, K]
        K = probabilities.shape[1]
        order = np.argsort(-probabilities.reshape(-1), kind="stable")[: self.pairs]
        best = [(int(place // K), int(place % K)) for place in order]
        best.sort(key=lambda pair: pair[0])  # stable: a track's best category first
        scores = [float(probabilities[pair]) for pair in best]
        return [
            Entry(track, score, label, has_masks=score >= MIN_PAIR_SCORE) for (track, label), score in zip(best, scores)
        ]
