"""From class probabilities frame by frame to a track's class and score."""

from __future__ import annotations

import numpy as np


def first_candidates(probabilities: np.ndarray, pairs: int) -> list[int]:
    """Queries among the ``pairs`` best (frame, query, class) of float [T, Q, K], best first, each once."""
    _, Q, K = probabilities.shape
    order = np.argsort(-probabilities.reshape(-1), kind="stable")[:pairs]
    return list(dict.fromkeys((order // K % Q).tolist()))


class TrackVote:
    """The class that is most frequent among the T / ``frames_per_vote`` best (frame, class) of a track, and its score.

    ``num_frames``: the expected length, by which hopeless entries are dropped early; None keeps them all.
    """

    def __init__(self, *, num_tracks: int, frames_per_vote: int, num_frames: int | None) -> None:
        self.frames_per_vote = frames_per_vote
        self.limit = None if num_frames is None else self.votes(num_frames)
        self.scores = np.zeros((num_tracks, 0), np.float32)
        self.classes = np.zeros((num_tracks, 0), np.int16)
        self.waiting: list[np.ndarray] = []
        self.frames = 0

    def votes(self, frames: int) -> int:
        return max(1, frames // self.frames_per_vote)

    def add(self, probabilities: np.ndarray) -> None:
        """Take one frame, float32 [N, K]."""
        self.waiting.append(probabilities)
        self.frames += 1
        if len(self.waiting) >= max(16, (self.limit or 0) // 4):
            self._merge()

    def _merge(self) -> None:
        """Move the waiting frames into the table, and keep the best of it where the length is known."""
        if not self.waiting:
            return
        N, K = self.waiting[0].shape
        new_classes = np.tile(np.arange(K, dtype=np.int16), len(self.waiting))
        self.scores = np.concatenate([self.scores, *self.waiting], 1)
        self.classes = np.concatenate([self.classes, np.broadcast_to(new_classes, (N, new_classes.size))], 1)
        self.waiting = []
        if self.limit is not None and self.scores.shape[1] > max(self.limit, self.votes(self.frames)):
            self._keep(max(self.limit, self.votes(self.frames)))

    def _keep(self, count: int) -> None:
        best = np.argsort(-self.scores, axis=1, kind="stable")[:, :count]
        best.sort(axis=1)  # in order of time, so that equal scores are told apart by age as before
        self.scores = np.take_along_axis(self.scores, best, 1)
        self.classes = np.take_along_axis(self.classes, best, 1)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """(scores float32 [N], classes int64 [N]): among equally frequent classes the smallest, its mean score."""
        self._merge()
        N, entries = self.scores.shape
        votes = min(self.votes(self.frames), entries)
        best = np.argsort(-self.scores, axis=1, kind="stable")[:, :votes]
        scores = np.zeros(N, np.float32)
        classes = np.zeros(N, np.int64)
        for track in range(N):
            voted = self.classes[track, best[track]]
            classes[track] = np.bincount(voted).argmax()
            scores[track] = self.scores[track, best[track]][voted == classes[track]].mean()
        return scores, classes
