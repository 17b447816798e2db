"""The videos that a report shows: the worst first, each with its pictures and the verdict on every track."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from mindvideo.evaluation.error_kinds import IGNORED, MISSED, RIGHT, DetectionVerdict, VideoVerdict
from mindvideo.evaluation.evaluator import Evaluation
from mindvideo.evaluation.ground_truth import LabelledVideo
from mindvideo.evaluation.results_json import Results, checked_tubes
from mindvideo.inference.output.colors import track_color
from mindvideo.logs import counted
from mindvideo.report.pictures import FramePainter, jpeg_uri

MAX_FRAMES = 32  # of one video, evenly spaced


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gallery:
    """``videos``: for the page's script; ``shown`` of ``total`` videos, the others left out for ``reason``."""

    videos: list[dict]
    total: int
    megabytes: float
    reason: str


def build_gallery(
    evaluation: Evaluation,
    results: Results,
    *,
    frames: Path | None,
    max_videos: int,
    megabytes: float,
    confidence: float,
) -> Gallery:
    """Worst videos first until ``max_videos`` or ``megabytes`` of pictures are reached."""
    order = worst_first(evaluation, confidence)
    names = evaluation.ground_truth.categories
    entries: list[dict] = []
    size, reason = 0, ""
    for video in order:
        if len(entries) == max_videos:
            reason = f"at most {counted(max_videos, 'video')} {'is' if max_videos == 1 else 'are'} shown"
            break
        records = results.records(video.id)
        records = [record for record in records if record["category_id"] in names]
        entry = _entry(video, records, evaluation.verdicts[video.id], names, frames, confidence)
        weight = sum(len(picture) for pane in ("prediction", "truth") for picture in entry[pane])
        if entries and size + weight > megabytes * 1e6:
            reason = f"the pictures reached {megabytes:g} MB"
            break
        size += weight
        entries.append(entry)
    return Gallery(videos=entries, total=len(order), megabytes=size / 1e6, reason=reason)


def worst_first(evaluation: Evaluation, confidence: float) -> list[LabelledVideo]:
    """By quality; videos with nothing in them and nothing found come last."""

    def key(video: LabelledVideo) -> float:
        quality = evaluation.verdicts[video.id].quality(confidence)
        return 2.0 if quality is None else quality

    return sorted(evaluation.ground_truth.videos, key=key)


def _entry(
    video: LabelledVideo,
    records: list[dict],
    verdict: VideoVerdict,
    names: Mapping[int, str],
    frames: Path | None,
    confidence: float,
) -> dict:
    tubes = checked_tubes(video, records)
    shown = sorted((d for d in verdict.detections if d.score >= confidence), key=lambda d: -d.score)
    colors = _colors(shown, len(video.tracks))
    painter = FramePainter(video, frames)
    chosen = _chosen_frames(video.length)
    prediction, truth = [], []
    for frame in chosen:
        background = painter.background(frame)
        own_tubes = [tubes[d.row] for d in reversed(shown)]
        prediction.append(jpeg_uri(painter.paint(background, own_tubes, colors[::-1], frame)))
        true_tubes = [track.tube for track in video.tracks]
        truth.append(jpeg_uri(painter.paint(background, true_tubes, range(len(true_tubes)), frame)))
    quality = verdict.quality(confidence)
    labels = {d.label for d in shown} | set(verdict.truth_labels)
    return {
        "name": video.name,
        "quality": quality,
        "frames": chosen,
        "length": video.length,
        "size": [painter.size[1], painter.size[0]],
        "classes": sorted(names[label] for label in labels),
        "kinds": sorted(verdict.kinds(confidence)),
        "tracks": [_track_line(d, color, video, names) for d, color in zip(shown, colors)],
        "objects": [
            {"color": _css(row), "name": names[label], "state": _state_words(state), "right": state == RIGHT}
            for row, (label, state) in enumerate(zip(verdict.truth_labels, verdict.truth_states))
        ],
        "prediction": prediction,
        "truth": truth,
    }


def _colors(shown: list[DetectionVerdict], num_truths: int) -> list[int]:
    """A track that is right has the colour of its object; all others have colours of their own."""
    fresh = iter(range(num_truths, num_truths + len(shown)))
    return [d.truth if d.kind == RIGHT and d.truth is not None else next(fresh) for d in shown]


def _track_line(verdict: DetectionVerdict, color: int, video: LabelledVideo, names: Mapping[int, str]) -> dict:
    words = verdict.kind
    if verdict.kind == "wrong class" and verdict.truth is not None:
        words = f"wrong class: it is {names[video.tracks[verdict.truth].category_id]}"
    elif verdict.kind == IGNORED:
        words = "not judged"
    return {
        "color": _css(color),
        "name": names[verdict.label],
        "score": verdict.score,
        "iou": verdict.iou if verdict.truth is not None else None,
        "kind": verdict.kind,
        "text": words,
        "right": verdict.kind == RIGHT,
    }


def _state_words(state: str) -> str:
    if state == RIGHT:
        return "found"
    return {MISSED: "missed", IGNORED: "crowd, not judged"}.get(state, f"not found: {state}")


def _css(color: int) -> str:
    return "rgb({}, {}, {})".format(*track_color(color))


def _chosen_frames(length: int) -> list[int]:
    places: Iterable[float] = np.linspace(0, length - 1, min(length, MAX_FRAMES))
    return sorted({round(place) for place in places})
