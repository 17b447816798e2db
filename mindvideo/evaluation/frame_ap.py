"""AP of single frames: what the masks and classes would score if identities through time did not matter.

Every frame is an image of its own; a detection has the score of its track. Tube AP far below frame AP means that
objects are found but not kept apart through time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np

from mindvideo.evaluation.matching import THRESHOLDS, UNMATCHED, match_detections
from mindvideo.evaluation.precision import NOTHING, interpolated, mean_of_known
from mindvideo.evaluation.track_ap import LIMITS, CategoryVideo
from mindvideo.masks.overlap import TubeOverlap


@dataclasses.dataclass(frozen=True)
class FrameMatches:
    """Detections in single frames of one category in one video, all frames in one row of length n.

    ``scores`` [n]; ``right``, ``wrong`` bool [t, n]; ``truths``: masks that count.
    """

    scores: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    truths: int


def match_frames(
    overlap: TubeOverlap, by_category: Mapping[int, CategoryVideo], scores: np.ndarray, crowd: np.ndarray
) -> dict[int, FrameMatches]:
    """Match every frame of a video; ``crowd`` bool [G]. Frames are matched side by side, detection by detection."""
    iou = overlap.frame_iou()  # [T, D, G]
    found = {}
    for category, part in by_category.items():
        rows, columns = part.detections, part.truths
        present = overlap.detection_areas[rows].T > 0  # [T, D]
        present &= np.cumsum(present, axis=1) <= LIMITS[-1]
        truth_present = overlap.truth_areas[columns].T > 0  # [T, G]
        own = np.where(truth_present[:, None, :], iou[:, rows][:, :, columns], -1.0)
        ignored_truth = np.broadcast_to(crowd[columns], truth_present.shape)
        truth_of = match_detections(own, ignored_truth, crowd[columns], present)  # [T, t, D]
        hit = truth_of != UNMATCHED
        on_crowd = hit & crowd[columns][truth_of] if len(columns) else np.zeros_like(hit)
        frame, detection = np.nonzero(present)
        found[category] = FrameMatches(
            scores=scores[rows][detection],
            right=(hit & ~on_crowd)[frame, :, detection].T,
            wrong=(~hit)[frame, :, detection].T,
            truths=int((truth_present & ~ignored_truth).sum()),
        )
    return found


def frame_statistics(
    matched: Mapping[int | str, Mapping[int, FrameMatches]], categories: Collection[int]
) -> dict[str, float]:
    """AP, AP50, AP75 and AR100 over the frames of all videos."""
    precision = np.full((len(categories), len(THRESHOLDS), 101), NOTHING)
    recall = np.full((len(categories), len(THRESHOLDS)), NOTHING)
    for k, category in enumerate(categories):
        parts = [by_category[category] for by_category in matched.values() if category in by_category]
        if not parts:
            continue
        order = np.argsort(-np.concatenate([part.scores for part in parts]), kind="stable")
        right = np.concatenate([part.right for part in parts], axis=1)[None, :, order]
        wrong = np.concatenate([part.wrong for part in parts], axis=1)[None, :, order]
        truths = np.array([sum(part.truths for part in parts)])
        curves, reached = interpolated(right, wrong, truths)
        precision[k], recall[k] = curves[0], reached[0]
    return {
        "AP": mean_of_known(precision),
        "AP50": mean_of_known(precision[:, 0]),
        "AP75": mean_of_known(precision[:, 5]),
        "AR100": mean_of_known(recall),
    }
