"""Which class was taken for which: a confusion matrix of whole tracks, at tube IoU 0.5."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np

from mindvideo.evaluation.error_kinds import IGNORED, RIGHT, VideoVerdict

WRONG_CLASS, DUPLICATE = "wrong class", "duplicate"


@dataclasses.dataclass(frozen=True)
class Confusion:
    """``counts`` int [K + 1, K + 1]: objects of the row's class that were tracked as the column's.

    Rows and columns are in the order of ``categories``. The last column is for objects that no track covers, the last
    row for tracks that cover no object.
    """

    categories: tuple[int, ...]
    counts: np.ndarray

    @property
    def mixed_up(self) -> int:
        """Objects that were tracked under another class."""
        own = self.counts[:-1, :-1]
        return int(own.sum() - np.trace(own))

    def of_most_mixed_up(self, limit: int) -> Confusion:
        """Only the classes that occur, at most ``limit`` of them: those that are mixed up most often, then the largest.

        An object that was tracked as a class left out counts as covered by no track, a track on an object of a class
        left out is not counted.
        """
        occurring = np.flatnonzero(self.counts[:-1].sum(1) + self.counts[:, :-1].sum(0))
        own = self.counts[:-1, :-1]
        wrong = own.sum(0) + own.sum(1) - 2 * np.diag(own)
        ranked = sorted(occurring.tolist(), key=lambda place: (-wrong[place], -self.counts[place].sum(), place))
        kept = sorted(ranked[:limit])
        rows = [*kept, len(self.categories)]
        counts = self.counts[np.ix_(rows, rows)].copy()
        left_out = [place for place in range(len(self.categories)) if place not in kept]
        counts[:-1, -1] += self.counts[np.ix_(kept, left_out)].sum(1)
        return Confusion(categories=tuple(self.categories[place] for place in kept), counts=counts)


def confusion(
    verdicts: Mapping[int | str, VideoVerdict], categories: Collection[int], *, confidence: float
) -> Confusion:
    """Of the tracks that score at least ``confidence``.

    An object counts once: for its right track, else for the surest track of another class that covers it, else as
    covered by none. Duplicates do not count, crowds neither; any other track is one that covers no object.
    """
    order = tuple(sorted(categories))
    place = {category: index for index, category in enumerate(order)}
    nothing = len(order)
    counts = np.zeros((nothing + 1, nothing + 1), np.int64)
    for verdict in verdicts.values():
        shown = sorted(
            (d for d in verdict.detections if d.score >= confidence), key=lambda d: (d.kind != RIGHT, -d.score)
        )
        taken_as: dict[int | None, int] = {}  # by the object that a detection stands for
        for detection in shown:
            if detection.kind in (RIGHT, WRONG_CLASS):
                taken_as.setdefault(detection.truth, detection.label)
            elif detection.kind not in (IGNORED, DUPLICATE):
                counts[nothing, place[detection.label]] += 1
        for truth, (label, state) in enumerate(zip(verdict.truth_labels, verdict.truth_states)):
            if state != IGNORED:
                column = place[taken_as[truth]] if truth in taken_as else nothing
                counts[place[label]][column] += 1
    return Confusion(categories=order, counts=counts)
