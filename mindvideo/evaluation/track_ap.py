"""YouTube-VIS AP and AR of whole tracks: the twelve official figures, per category, and for further ranges of truths.

The arithmetic is that of the official evaluation. Two of its faults are not kept: a prediction that does not cover its
video is refused (there it is compared over the frames it has), and an annotation whose id is 0 can be matched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from mindvideo.evaluation.ground_truth import LabelledTrack
from mindvideo.evaluation.matching import THRESHOLDS, UNMATCHED, match_detections
from mindvideo.evaluation.precision import NOTHING, Matches, mean_of_known, precision_recall
from mindvideo.evaluation.splits import OCCLUSION_LEVELS, occlusion_level

LIMITS = (1, 10, 100)  # detections of a category that count in a video
# Mean area of a track over its non-empty frames; both ends belong to a range.
AREA_RANGES = {"all": (0.0, 1e10), "small": (0.0, 128.0**2), "medium": (128.0**2, 256.0**2), "large": (256.0**2, 1e10)}
AreaRanges = Mapping[str, tuple[float, float]]
RANGES = (*AREA_RANGES, *OCCLUSION_LEVELS)  # R cases
STATISTICS = {  # name -> (precision or recall, IoU threshold or None for their mean, range, limit)
    "AP": ("precision", None, "all", 100),
    "AP50": ("precision", 0.5, "all", 100),
    "AP75": ("precision", 0.75, "all", 100),
    "APs": ("precision", None, "small", 100),
    "APm": ("precision", None, "medium", 100),
    "APl": ("precision", None, "large", 100),
    "AR1": ("recall", None, "all", 1),
    "AR10": ("recall", None, "all", 10),
    "AR100": ("recall", None, "all", 100),
    "ARs": ("recall", None, "small", 100),
    "ARm": ("recall", None, "medium", 100),
    "ARl": ("recall", None, "large", 100),
}


@dataclasses.dataclass(frozen=True)
class CategoryVideo:
    """One category in one video after matching: its detections (rows of the video's, best first) and its truths."""

    detections: np.ndarray
    truths: np.ndarray
    matches: Matches
    truth_of: np.ndarray  # [D] row of the video's truths matched at IoU 0.5, UNMATCHED where none


def match_category(
    *,
    iou: np.ndarray,
    scores: np.ndarray,
    detection_areas: np.ndarray,
    truths: Sequence[LabelledTrack],
    truth_areas: np.ndarray,
    detection_rows: np.ndarray,
    truth_rows: np.ndarray,
    area_ranges: AreaRanges = AREA_RANGES,
) -> CategoryVideo:
    """Match the detections of one category in one video, in every range at once.

    ``iou`` [D, G], ``scores`` [D], mean areas [D] and [G], all of the whole video; the rows say which belong here.
    ``area_ranges``: other limits under the same names.
    """
    rows = detection_rows[np.argsort(-scores[detection_rows], kind="stable")][: LIMITS[-1]]
    tracks = [truths[row] for row in truth_rows]
    crowd = np.array([track.is_crowd for track in tracks], bool)
    truth_ignored = _ignored_truths(tracks, truth_areas[truth_rows], crowd, area_ranges)  # [R, G]
    truth_of = match_detections(iou[np.ix_(rows, truth_rows)][None], truth_ignored, crowd)  # [R, t, D]
    hit = truth_of != UNMATCHED
    ignored = np.zeros_like(hit)
    if len(truth_rows):
        cases = np.arange(len(RANGES))[:, None, None]
        ignored = hit & truth_ignored[cases, truth_of]
    # A detection without truth does not count against a size that it has not.
    areas = detection_areas[rows]
    for case, (low, high) in enumerate(area_ranges.values()):
        ignored[case] |= ~hit[case] & ((areas < low) | (areas > high))
    counted = (~truth_ignored).sum(axis=1)
    at_half = truth_of[0, 0]
    return CategoryVideo(
        detections=rows,
        truths=truth_rows,
        matches=Matches(scores=scores[rows], hit=hit, ignored=ignored, truths=counted),
        truth_of=np.where(at_half == UNMATCHED, UNMATCHED, truth_rows[at_half] if len(truth_rows) else UNMATCHED),
    )


def _ignored_truths(
    tracks: Sequence[LabelledTrack], areas: np.ndarray, crowd: np.ndarray, area_ranges: AreaRanges
) -> np.ndarray:
    """bool [R, G]: crowds always, otherwise the truths outside the range."""
    ignored = [crowd | (areas < low) | (areas > high) for low, high in area_ranges.values()]
    levels = np.array([occlusion_level(track.occlusion) or "" for track in tracks], dtype=object)
    ignored += [crowd | (levels != level) for level in OCCLUSION_LEVELS]
    return np.array(ignored, bool).reshape(len(RANGES), len(tracks))


@dataclasses.dataclass(frozen=True)
class TrackAP:
    """Precision [R, t, 101, K] and, by limit, recall [R, t, K]; ``categories``: the K ids. NOTHING: no truth there."""

    precision: np.ndarray
    recall: dict[int, np.ndarray]
    categories: tuple[int, ...]

    def statistics(self) -> dict[str, float]:
        """The twelve official figures; -1 where there is nothing to score."""
        return {name: self._figure(*choice) for name, choice in STATISTICS.items()}

    def of_range(self, name: str) -> dict[str, float]:
        """AP, AP50, AP75 and AR100 over the truths of one of RANGES."""
        return {
            "AP": self._figure("precision", None, name, 100),
            "AP50": self._figure("precision", 0.5, name, 100),
            "AP75": self._figure("precision", 0.75, name, 100),
            "AR100": self._figure("recall", None, name, 100),
        }

    def per_category(self) -> dict[int, dict[str, float]]:
        return {
            category: {
                "AP": mean_of_known(self.precision[0, :, :, k]),
                "AP50": mean_of_known(self.precision[0, 0, :, k]),
                "AP75": mean_of_known(self.precision[0, 5, :, k]),
                "AR100": mean_of_known(self.recall[100][0, :, k]),
            }
            for k, category in enumerate(self.categories)
        }

    def curve(self, threshold: float) -> np.ndarray:
        """Mean precision over the categories at the 101 recall points, at one IoU threshold."""
        level = int(np.argmin(np.abs(THRESHOLDS - threshold)))
        values = self.precision[0, level]  # [101, K]
        known = values[:, values[0] > NOTHING]
        return known.mean(axis=1) if known.shape[1] else np.zeros(len(values))

    def _figure(self, kind: str, threshold: float | None, range_name: str, limit: int) -> float:
        values = self.precision if kind == "precision" else self.recall[limit]
        values = values[RANGES.index(range_name)]
        if threshold is not None:
            values = values[int(np.argmin(np.abs(THRESHOLDS - threshold)))]
        return mean_of_known(values)


def accumulate(
    matched: dict[int | str, dict[int, CategoryVideo]],
    categories: Collection[int],
    *,
    videos: Collection[int | str] | None = None,
) -> TrackAP:
    """AP over ``matched`` (video id -> category -> its matches), or over some of its videos."""
    chosen = [by_category for video, by_category in matched.items() if videos is None or video in videos]
    shape = (len(RANGES), len(THRESHOLDS))
    K = len(categories)
    precision = np.full((*shape, 101, K), NOTHING)
    recall = {limit: np.full((*shape, K), NOTHING) for limit in LIMITS}
    for k, category in enumerate(categories):
        parts = [by_category[category].matches for by_category in chosen if category in by_category]
        if not parts:
            continue
        for limit in LIMITS:
            precision_at_limit, recall[limit][:, :, k] = precision_recall(parts, limit=limit)
            if limit == LIMITS[-1]:
                precision[:, :, :, k] = precision_at_limit
    return TrackAP(precision=precision, recall=recall, categories=tuple(categories))
