"""Figures of results against labels: computed, kept in the run folder, shown."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError
from mindvideo.evaluation.evaluator import Evaluation, evaluate_results
from mindvideo.evaluation.ground_truth import GroundTruth
from mindvideo.evaluation.results_json import Results
from mindvideo.evaluation.splits import LengthRules, long_videos
from mindvideo.evaluation.table import evaluation_table
from mindvideo.files import write_json
from mindvideo.logs import counted, progress
from mindvideo.report.run_report import EVALUATED, ReportOptions, write_report
from mindvideo.run_folder import METRICS


def require_same_classes(ground_truth: GroundTruth, weights: Path) -> None:
    """Weights that know their classes are evaluated on a set of the same ones: ids only would pass for others."""
    from mindvideo.weights.checkpoint_file import class_names_of

    trained = class_names_of(weights)
    if trained is None:
        return
    for number, name in sorted(ground_truth.categories.items()):
        if trained.get(number) != name:
            known = f"'{trained[number]}'" if number in trained else "unknown"
            raise UserError(
                f"class {number} is '{name}' in the labelled set, but {known} in {weights}: the figures would be of "
                "other classes; choose another data.valid, or say --any-classes"
            )


def training_of(weights: Path) -> Path | None:
    """The run folder of the training that wrote the weights, to show its curves; None for weights from elsewhere."""
    return next((folder for folder in (weights.parent, weights.parent.parent) if (folder / METRICS).is_file()), None)


def remember(
    folder: Path, results: Any, annotations: Any, frames: Any, rules: LengthRules, training: Path | None = None
) -> None:
    """Which files were compared, for mindvideo report."""
    places = {"results": results, "annotations": annotations, "frames": frames, "training": training}
    absolute = {name: str(Path(place).resolve()) if place else None for name, place in places.items()}
    write_json(folder / EVALUATED, {**absolute, **rules.facts()})


def evaluate(ground_truth: GroundTruth, results: Results, *, rules: LengthRules) -> tuple[Evaluation, dict]:
    start = time.perf_counter()
    evaluation = evaluate_results(
        ground_truth,
        results,
        long_videos=long_videos(ground_truth, rules),
        progress=lambda videos: progress(videos, total=len(videos), label="comparing", unit="video"),
    )
    return evaluation, {"evaluation_seconds": time.perf_counter() - start}


def finish(folder: Path, evaluation: Evaluation, speed: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``metrics.json`` and show the table; the figures."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    metrics = {**evaluation.metrics(), "speed": {**speed, "peak_memory_megabytes": kilobytes / 1024}}
    write_json(folder / "metrics.json", metrics)
    print(evaluation_table(metrics))
    rate = speed.get("frames_per_second")
    model = f"{rate:.2f} frames/s in the model, " if rate else ""
    print(
        f"\n{counted(metrics['videos'], 'video')}, {model}{speed['evaluation_seconds']:.2f} s to evaluate, "
        f"{kilobytes / 1024:.0f} MB at most; written to {folder / 'metrics.json'}"
    )
    return metrics


def report(
    folder: Path, evaluation: Evaluation, results: Results, *, frames: str | Path | None, options: ReportOptions
) -> None:
    path = write_report(folder, evaluation, results, frames=Path(frames) if frames else None, options=options)
    print(f"report: {path}")
