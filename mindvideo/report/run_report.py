"""``report.html`` of a run: figures, curves and videos in one file that needs no network."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from mindvideo.evaluation.evaluator import Evaluation
from mindvideo.evaluation.results_json import Results
from mindvideo.files import write_text
from mindvideo.report.page import render_page
from mindvideo.report.training_curves import read_records, training_charts
from mindvideo.report.video_gallery import build_gallery
from mindvideo.run_folder import ENVIRONMENT

REPORT = "report.html"
EVALUATED = "evaluated.json"  # in a run folder: which files were compared


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """``training``: folder of the training whose curves are shown, where it is another than the run's."""

    title: str
    videos: int = 24
    megabytes: float = 25.0
    confidence: float = 0.3
    training: Path | None = None


def write_report(
    folder: Path,
    evaluation: Evaluation | None,
    results: Results | None,
    *,
    frames: Path | None,
    options: ReportOptions,
) -> Path:
    """Write the page into the run folder; without an evaluation it shows the training only."""
    gallery = None
    if evaluation is not None and results is not None:
        gallery = build_gallery(
            evaluation,
            results,
            frames=frames,
            max_videos=options.videos,
            megabytes=options.megabytes,
            confidence=options.confidence,
        )
    page = render_page(
        title=options.title,
        evaluation=evaluation,
        gallery=gallery,
        charts=training_charts(read_records(options.training or folder)),
        facts=_facts(folder),
        confidence=options.confidence,
    )
    write_text(folder / REPORT, page)
    return folder / REPORT


def _facts(folder: Path) -> dict:
    path = folder / ENVIRONMENT
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
