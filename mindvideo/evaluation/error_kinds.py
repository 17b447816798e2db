"""The kinds of errors, and the AP that each kind costs, after the ideas of TIDE and TIVE.

All is judged at tube IoU 0.5. A detection that is wrong there is, in this order:

- ``duplicate``: lies on an object of its class that a better detection has taken (IoU at least 0.5);
- ``wrong class``: lies on an object of another class (IoU at least 0.5);
- ``swapped identity``: most of its frames lie on objects (frame IoU at least 0.5), on two or more of them;
- ``split``: fits its object where both are there, but is there for too small a part of the object's time;
- ``poor mask``: lies on an object of its class with an IoU between 0.1 and 0.5 for any other reason;
- ``false``: the rest, on background mostly.

``missed`` are the objects that no detection has taken and no wrong detection of another kind than ``false`` stands for.

The cost of a kind is AP50 when just this kind is put right, minus AP50 as it is: wrong classes, masks and tracks count
as right for their object if it is free and disappear if not; duplicates and false ones disappear; missed objects are
not asked for. The costs need not add up to what is missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np

from mindvideo.evaluation.matching import UNMATCHED
from mindvideo.evaluation.precision import interpolated, mean_of_known
from mindvideo.evaluation.track_ap import CategoryVideo
from mindvideo.masks.overlap import TubeOverlap

RIGHT, IGNORED, MISSED = "right", "ignored", "missed"
STANDS_FOR_OBJECT = ("wrong class", "swapped identity", "split", "poor mask")
DISAPPEARS = ("duplicate", "false")
KINDS = (MISSED, *STANDS_FOR_OBJECT, *DISAPPEARS)
FOUND, ON_OBJECT = 0.5, 0.1  # tube IoU of a right detection; least tube IoU of one that is about an object
_LEAST_SHARE = 0.1  # of a track's frames on a second object, from which on its identity counts as swapped


@dataclasses.dataclass(frozen=True)
class DetectionVerdict:
    """``row`` of the video's records; ``kind`` RIGHT, IGNORED or one of KINDS; ``truth``: row it is about, or None."""

    row: int
    label: int
    score: float
    kind: str
    truth: int | None
    iou: float


@dataclasses.dataclass(frozen=True)
class VideoVerdict:
    """Detections that count, best first in each category; labels and states (RIGHT, IGNORED, MISSED, or the kind of the
    wrong detection that stands for it) of the truths."""

    detections: tuple[DetectionVerdict, ...]
    truth_labels: tuple[int, ...]
    truth_states: tuple[str, ...]

    def quality(self, confidence: float) -> float | None:
        """IoU of what is right over all there is to find or to leave: 1 is perfect, None without objects and errors."""
        confident = [verdict for verdict in self.detections if verdict.score >= confidence and verdict.kind != IGNORED]
        right = [verdict for verdict in confident if verdict.kind == RIGHT]
        objects = sum(state != IGNORED for state in self.truth_states)
        total = (objects + len(confident)) / 2  # right ones are counted in both
        return sum(verdict.iou for verdict in right) / total if total else None

    def kinds(self, confidence: float) -> set[str]:
        """The kinds of error in this video, false alarms only above ``confidence``."""
        kinds = {v.kind for v in self.detections if v.score >= confidence and v.kind in KINDS}
        return kinds | ({MISSED} if MISSED in self.truth_states else set())


def judge_video(
    overlap: TubeOverlap,
    by_category: Mapping[int, CategoryVideo],
    scores: np.ndarray,
    labels: np.ndarray,
    truth_labels: np.ndarray,
    crowd: np.ndarray,
) -> VideoVerdict:
    """``scores``, ``labels`` [D]; ``truth_labels``, ``crowd`` [G]."""
    iou = overlap.tube_iou()
    judge = _Judge(overlap, iou, truth_labels, crowd)
    states = [IGNORED if is_crowd else MISSED for is_crowd in crowd]
    verdicts = []
    for part in by_category.values():
        for place, row in enumerate(part.detections.tolist()):
            truth = int(part.truth_of[place])
            if truth != UNMATCHED:
                kind = IGNORED if part.matches.ignored[0, 0, place] else RIGHT
            else:
                kind, truth = judge.kind_of(row, int(labels[row]))
            best = float(iou[row, truth]) if truth != UNMATCHED else 0.0
            about = None if truth == UNMATCHED else truth
            verdicts.append(DetectionVerdict(row, int(labels[row]), float(scores[row]), kind, about, best))
    for verdict in verdicts:
        if verdict.truth is not None and verdict.kind in STANDS_FOR_OBJECT and states[verdict.truth] == MISSED:
            states[verdict.truth] = verdict.kind
    for verdict in verdicts:
        if verdict.truth is not None and verdict.kind == RIGHT:
            states[verdict.truth] = RIGHT
    return VideoVerdict(tuple(verdicts), tuple(truth_labels.tolist()), tuple(states))


class _Judge:
    """Names the fault of a wrong detection of one video."""

    def __init__(self, overlap: TubeOverlap, iou: np.ndarray, truth_labels: np.ndarray, crowd: np.ndarray) -> None:
        self._overlap = overlap
        self._iou = np.where(crowd, -1.0, iou)  # crowds are nobody's object
        self._frame_iou = np.where(crowd, -1.0, overlap.frame_iou())
        self._truth_labels = truth_labels

    def kind_of(self, row: int, label: int) -> tuple[str, int]:
        """(kind, row of the truth it is about or UNMATCHED)."""
        if not len(self._truth_labels):
            return "false", UNMATCHED
        iou = self._iou[row]
        of_class = np.where(self._truth_labels == label, iou, -1.0)
        of_others = np.where(self._truth_labels != label, iou, -1.0)
        own, other = int(of_class.argmax()), int(of_others.argmax())
        if of_class[own] >= FOUND:
            return "duplicate", own
        if of_others[other] >= FOUND:
            return "wrong class", other
        followed = self._followed(row)
        if len(followed) > 1:
            same = [truth for truth in followed if self._truth_labels[truth] == label]
            return "swapped identity", (same or followed)[0]
        if followed and self._truth_labels[followed[0]] == label:
            own = followed[0]  # however short the piece of its time
        if self._covers_part(row, own) and of_class[own] > 0:
            return "split", own
        if of_class[own] >= ON_OBJECT:
            return "poor mask", own
        return "false", UNMATCHED

    def _followed(self, row: int) -> list[int]:
        """Truths on which the track lies for a notable time, longest first; none when it mostly lies on nothing."""
        present = self._overlap.detection_areas[row] > 0
        frame_iou = self._frame_iou[present, row]  # [frames, G]
        owners = frame_iou.argmax(axis=1)[frame_iou.max(axis=1, initial=-1.0) >= FOUND]
        if len(owners) * 2 < len(frame_iou):
            return []
        counts = np.bincount(owners, minlength=len(self._truth_labels))
        order = np.argsort(-counts, kind="stable")
        return [int(truth) for truth in order if counts[truth] > 0 and counts[truth] >= _LEAST_SHARE * len(frame_iou)]

    def _covers_part(self, row: int, truth: int) -> bool:
        """Good where both are there; more frames show only the object than only the track."""
        detection, object_ = self._overlap.detection_areas[row], self._overlap.truth_areas[truth]
        both = (detection > 0) & (object_ > 0)
        common = self._overlap.intersections[both, row, truth].sum()
        union = detection[both].sum() + object_[both].sum() - common
        return union > 0 and common / union >= FOUND and object_[~both].sum() >= detection[~both].sum()


@dataclasses.dataclass(frozen=True)
class ErrorCosts:
    """``ap50`` as it is; for every kind how often it occurs and the AP50 that putting it right would add."""

    ap50: float
    counts: dict[str, int]
    costs: dict[str, float]

    def as_dict(self) -> dict:
        return {
            "AP50": self.ap50,
            "kinds": {kind: {"count": self.counts[kind], "AP50_cost": self.costs[kind]} for kind in KINDS},
        }


def error_costs(verdicts: Mapping[int | str, VideoVerdict], categories: Collection[int]) -> ErrorCosts:
    """Count the kinds over all videos and put each right in turn."""
    counts = dict.fromkeys(KINDS, 0)
    for verdict in verdicts.values():
        for detection in verdict.detections:
            if detection.kind in counts:
                counts[detection.kind] += 1
        counts[MISSED] += verdict.truth_states.count(MISSED)
    ap50 = _ap50(verdicts, categories, put_right=None)
    costs = {
        kind: max(_ap50(verdicts, categories, put_right=kind) - ap50, 0.0) if counts[kind] else 0.0 for kind in KINDS
    }
    return ErrorCosts(ap50=ap50, counts=counts, costs=costs)


def _ap50(verdicts: Mapping[int | str, VideoVerdict], categories: Collection[int], *, put_right: str | None) -> float:
    outcomes: dict[int, list[tuple[float, bool]]] = {category: [] for category in categories}
    truths = dict.fromkeys(categories, 0)
    for verdict in verdicts.values():
        for label, state in zip(verdict.truth_labels, verdict.truth_states):
            truths[label] += state != IGNORED and not (state == MISSED and put_right == MISSED)
        taken = {detection.truth for detection in verdict.detections if detection.kind == RIGHT}
        by_score = sorted(verdict.detections, key=lambda detection: -detection.score)
        for detection in by_score:
            if detection.kind == IGNORED:
                continue
            if detection.kind != put_right:
                outcomes[detection.label].append((detection.score, detection.kind == RIGHT))
            elif put_right in STANDS_FOR_OBJECT and detection.truth is not None and detection.truth not in taken:
                taken.add(detection.truth)
                outcomes[verdict.truth_labels[detection.truth]].append((detection.score, True))
    figures = []
    for category in categories:
        scores = np.array([score for score, _ in outcomes[category]])
        right = np.array([is_right for _, is_right in outcomes[category]], bool)
        right = right[np.argsort(-scores, kind="stable")][None, None]
        figures.append(interpolated(right, ~right, np.array([truths[category]]))[0])
    return mean_of_known(np.concatenate(figures)) if figures else -1.0
