"""Everything that is said about a set of results, gathered video by video; only small arrays outlive a video."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from mindvideo.errors import UserError
from mindvideo.evaluation import track_ap
from mindvideo.evaluation.error_kinds import ErrorCosts, VideoVerdict, error_costs, judge_video
from mindvideo.evaluation.frame_ap import FrameMatches, frame_statistics, match_frames
from mindvideo.evaluation.ground_truth import GroundTruth, LabelledVideo
from mindvideo.evaluation.results_json import Record, Results, VideoId, checked_tubes, name_of_track
from mindvideo.evaluation.splits import OCCLUSION_LEVELS
from mindvideo.evaluation.track_ap import CategoryVideo, TrackAP, match_category
from mindvideo.evaluation.tracking import TrackingCounts, count_video, total_counts
from mindvideo.masks.overlap import BrokenMaskError, TubeOverlap, tube_overlap

# Tracks that score less take no part in HOTA, IDF1 and switches: those figures speak of what a user is shown.
SHOWN_CONFIDENCE = 0.3
_log = logging.getLogger("mindvideo.evaluation")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """``tracks``: the official figures. ``frame``: AP, AP50, AP75 of single frames. ``errors``: what costs AP.

    ``tracking``: how tracks of at least ``confidence`` keep their objects: HOTA, IDF1, switches.
    ``verdicts``: per video, what became of each detection and each truth. ``short``, ``long``: AP of those videos.
    """

    ground_truth: GroundTruth
    tracks: TrackAP
    frame: dict[str, float] | None
    errors: ErrorCosts | None
    tracking: TrackingCounts | None
    confidence: float
    verdicts: dict[VideoId, VideoVerdict]
    short: TrackAP | None
    long: TrackAP | None

    def metrics(self) -> dict:
        """For ``metrics.json``: the official figures under their names, in 0..1, and everything else below them."""
        metrics: dict = dict(self.tracks.statistics())
        metrics["per_category"] = {
            str(category): {"name": self.ground_truth.categories[category], **figures}
            for category, figures in self.tracks.per_category().items()
        }
        metrics["videos"] = len(self.ground_truth.videos)
        if self.frame is not None:
            metrics["frame"] = self.frame
        if self.tracking is not None:
            metrics["tracking"] = {**self.tracking.figures(), "confidence": self.confidence}
        if self.ground_truth.has_occlusion:
            metrics["occlusion"] = {level: self.tracks.of_range(level) for level in OCCLUSION_LEVELS}
        if self.short is not None and self.long is not None:
            metrics["short_videos"], metrics["long_videos"] = self.short.statistics(), self.long.statistics()
        if self.errors is not None:
            metrics["errors"] = self.errors.as_dict()
        return metrics


class Evaluator:
    """Takes the videos of ``ground_truth`` one after the other.

    With ``details`` False only the official figures are computed. ``confidence``: the score from which on a track
    counts for HOTA, IDF1 and switches.
    """

    def __init__(
        self, ground_truth: GroundTruth, *, details: bool = True, confidence: float = SHOWN_CONFIDENCE
    ) -> None:
        self._ground_truth = ground_truth
        self._details = details
        self._confidence = confidence
        self._tracking: list[TrackingCounts] = []
        self._matched: dict[VideoId, dict[int, CategoryVideo]] = {}
        self._frames: dict[VideoId, dict[int, FrameMatches]] = {}
        self._verdicts: dict[VideoId, VideoVerdict] = {}

    def add(self, video: LabelledVideo, records: list[Record]) -> None:
        """Match the records of one video and forget their masks."""
        records = [record for record in records if record["category_id"] in self._ground_truth.categories]
        tubes = checked_tubes(video, records)
        labels = np.array([record["category_id"] for record in records], np.int64)
        scores = np.array([record["score"] for record in records], np.float64)
        truth_labels = np.array([track.category_id for track in video.tracks], np.int64)
        wanted = None if self._details else labels[:, None] == truth_labels
        overlap = self._overlap(video, tubes, wanted)
        iou = overlap.tube_iou()
        by_category = {}
        for category in sorted({*labels.tolist(), *truth_labels.tolist()}):
            by_category[category] = match_category(
                iou=iou,
                scores=scores,
                detection_areas=_mean_areas(overlap.detection_areas),
                truths=video.tracks,
                truth_areas=_truth_areas(video, overlap),
                detection_rows=np.flatnonzero(labels == category),
                truth_rows=np.flatnonzero(truth_labels == category),
            )
        self._matched[video.id] = by_category
        if self._details:
            crowd = np.array([track.is_crowd for track in video.tracks], bool)
            self._frames[video.id] = match_frames(overlap, by_category, scores, crowd)
            self._verdicts[video.id] = judge_video(overlap, by_category, scores, labels, truth_labels, crowd)
            shown = scores >= self._confidence
            self._tracking.append(count_video(overlap, labels, truth_labels, shown=shown, crowd=crowd))

    @staticmethod
    def _overlap(video: LabelledVideo, tubes: list, wanted: np.ndarray | None) -> TubeOverlap:
        try:
            return tube_overlap(
                tubes, [track.tube for track in video.tracks], pixels=video.height * video.width, wanted=wanted
            )
        except BrokenMaskError as error:
            if error.track < len(tubes):
                raise UserError(f"{name_of_track(video, error.track)}, {error}") from error
            annotation = video.tracks[error.track - len(tubes)].id
            raise UserError(f"annotations: video {video.id}, annotation {annotation}, {error}") from error

    def result(self, *, long_videos: set[VideoId] | None = None) -> Evaluation:
        """The figures over all videos added; ``long_videos`` are scored apart from the others."""
        categories = sorted(self._ground_truth.categories)
        short = long = None
        if long_videos is not None:
            others = [video for video in self._matched if video not in long_videos]
            short = track_ap.accumulate(self._matched, categories, videos=others)
            long = track_ap.accumulate(self._matched, categories, videos=long_videos)
        return Evaluation(
            ground_truth=self._ground_truth,
            tracks=track_ap.accumulate(self._matched, categories),
            frame=frame_statistics(self._frames, categories) if self._details else None,
            errors=error_costs(self._verdicts, categories) if self._details else None,
            tracking=total_counts(self._tracking) if self._details else None,
            confidence=self._confidence,
            verdicts=self._verdicts,
            short=short,
            long=long,
        )


def _mean_areas(areas: np.ndarray) -> np.ndarray:
    """Mean over the non-empty frames, [N] from [N, T]; 0 where all are empty."""
    frames = (areas > 0).sum(axis=1)
    return np.divide(areas.sum(axis=1), frames, out=np.zeros(len(areas)), where=frames > 0)


def _truth_areas(video: LabelledVideo, overlap: TubeOverlap) -> np.ndarray:
    measured = _mean_areas(overlap.truth_areas)
    given = [track.mean_area for track in video.tracks]
    return np.array([area if area is not None else own for area, own in zip(given, measured)], np.float64)


def evaluate_results(
    ground_truth: GroundTruth,
    results: Results,
    *,
    details: bool = True,
    confidence: float = SHOWN_CONFIDENCE,
    long_videos: set[VideoId] | None = None,
    progress: Callable[[Sequence[LabelledVideo]], Iterable[LabelledVideo]] = iter,
) -> Evaluation:
    """Evaluate ``results`` against every video of ``ground_truth``; a video without records has missed everything."""
    known = {video.id for video in ground_truth.videos}
    unknown = [video_id for video_id in results.video_ids() if video_id not in known]
    if unknown:
        example = next(iter(known), None)
        raise UserError(
            f"results of video {unknown[0]!r}, which the annotations do not list ({len(unknown)} such videos; "
            f"listed are ids like {example!r}): results and annotations must be of one set"
        )
    evaluator = Evaluator(ground_truth, details=details, confidence=confidence)
    ignored = 0
    for video in progress(ground_truth.videos):
        records = results.records(video.id)
        ignored += sum(record["category_id"] not in ground_truth.categories for record in records)
        evaluator.add(video, records)
    if ignored:
        _log.warning("%d records have a category that the annotations do not list; they are left out", ignored)
    return evaluator.result(long_videos=long_videos)
