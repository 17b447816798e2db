"""From matched detections to precision and recall, averaged as COCO does: 101 recall points, interpolated precision."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

RECALL_POINTS = np.linspace(0.0, 1.0, 101)
NOTHING = -1.0  # value of a figure for which there is no truth


@dataclasses.dataclass(frozen=True)
class Matches:
    """Detections of one category in one video (or frame), in falling order of score, in R cases and t thresholds.

    ``scores`` [D]; ``hit`` bool [R, t, D]: matched to a truth; ``ignored`` bool [R, t, D]: neither right nor wrong;
    ``truths`` int [R]: truths that count.
    """

    scores: np.ndarray
    hit: np.ndarray
    ignored: np.ndarray
    truths: np.ndarray


def precision_recall(parts: Iterable[Matches], *, limit: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(precision [R, t, 101], recall [R, t]) over ``parts``, of each the ``limit`` best; NOTHING where no truth counts.

    Equal scores keep the order of the parts and, in a part, of its detections.
    """
    parts = list(parts)
    truths = np.sum([part.truths for part in parts], axis=0)  # [R]
    scores = np.concatenate([part.scores[:limit] for part in parts])
    order = np.argsort(-scores, kind="stable")
    hit = np.concatenate([part.hit[..., :limit] for part in parts], axis=2)[..., order]
    ignored = np.concatenate([part.ignored[..., :limit] for part in parts], axis=2)[..., order]
    return interpolated(hit & ~ignored, ~hit & ~ignored, truths)


def interpolated(right: np.ndarray, wrong: np.ndarray, truths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision at the recall points, final recall; ``right`` and ``wrong`` bool [R, t, D] in the order of scores."""
    R, t, D = right.shape
    precision = np.full((R, t, len(RECALL_POINTS)), NOTHING)
    recall = np.full((R, t), NOTHING)
    if D:
        found = np.cumsum(right, axis=2, dtype=np.float64)
        false = np.cumsum(wrong, axis=2, dtype=np.float64)
        purity = found / (false + found + np.spacing(1))
        purity = np.maximum.accumulate(purity[..., ::-1], axis=2)[..., ::-1]
    for case in np.flatnonzero(truths):
        precision[case], recall[case] = 0.0, 0.0
        if not D:
            continue
        reached = found[case] / truths[case]  # [t, D]
        recall[case] = reached[:, -1]
        for level in range(t):
            places = np.searchsorted(reached[level], RECALL_POINTS, side="left")
            inside = places < D
            precision[case, level, inside] = purity[case, level, places[inside]]
    return precision, recall


def mean_of_known(values: np.ndarray) -> float:
    """Mean over the entries that are figures; NOTHING when none is."""
    known = values[values > NOTHING]
    return float(known.mean()) if known.size else NOTHING
