"""Evaluate a model on a labelled set, or a result file from any source, with the YouTube-VIS figures and more."""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from pathlib import Path

from mindvideo.cli.arguments import EXIT_OK, config_parser
from mindvideo.cli.eval_images import finish_images
from mindvideo.cli.result_settings import check_weights_file, result_settings, weights_facts
from mindvideo.errors import UserError
from mindvideo.evaluation.evaluator import Evaluation, evaluate_results
from mindvideo.evaluation.ground_truth import GroundTruth, read_ground_truth
from mindvideo.evaluation.results_json import Results, ResultsFile
from mindvideo.evaluation.splits import long_videos
from mindvideo.evaluation.table import evaluation_table
from mindvideo.files import write_json
from mindvideo.inference.output.class_names import write_class_names
from mindvideo.inference.output.store import VideoStore
from mindvideo.logs import counted, progress
from mindvideo.report.run_report import EVALUATED, ReportOptions, write_report
from mindvideo.run_folder import ENVIRONMENT, METRICS, RunFolder, describe_environment

EXAMPLES = """
Two ways:
  mindvideo eval -c vistr --weights vistr_r50.ckpt              run the model over data.valid, then evaluate
  mindvideo eval --results results.json --annotations gt.json   evaluate a file; .json, .gz or the .zip for a server
The run folder (--output) gets metrics.json, results.json (of a model) and report.html. A model's finished videos are
kept there: the same command goes on where it was interrupted.
"""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = config_parser(__doc__, config_required=False)
    parser.epilog = EXAMPLES + parser.epilog
    parser.add_argument("--results", metavar="FILE", help="evaluate this result file; no model is needed")
    parser.add_argument("--annotations", metavar="FILE", help="annotations that --results is compared with")
    parser.add_argument(
        "--frames", metavar="DIR", help="with --results: folder of the frames, to show them in the report"
    )
    parser.add_argument("--long-videos", metavar="N|FILE", help="score videos of at least N frames, or listed, apart")
    parser.add_argument("--analysis", action="store_true", help="keep what an online model saw, for mindvideo analyze")
    parser.add_argument("--force", action="store_true", help="run finished videos again")
    parser.add_argument("--any-classes", action="store_true", help="the set's classes may differ from the weights' own")
    parser.add_argument("--no-report", action="store_true", help="do not write report.html")
    given = parser.parse_args(arguments)
    if given.results and not given.annotations:
        raise UserError("--results needs --annotations, the labelled file to compare with")
    if given.results and given.config:
        raise UserError("give either --results with --annotations, or -c with --weights, not both")
    if not given.results and not given.config:
        raise UserError("nothing to evaluate: give -c and --weights, or --results and --annotations")
    return given


def main() -> int:
    arguments = parse_arguments()
    return evaluate_file(arguments) if arguments.results else evaluate_model(arguments)


def evaluate_file(arguments: argparse.Namespace) -> int:
    ground_truth = read_ground_truth(arguments.annotations)
    results = ResultsFile(arguments.results)
    folder = RunFolder.create(output=arguments.output, name=f"{Path(arguments.results).stem}-eval")
    write_json(folder.path / ENVIRONMENT, describe_environment())
    remember(folder.path, arguments.results, arguments.annotations, arguments.frames, arguments.long_videos)
    evaluation, speed = evaluate(ground_truth, results, rule=arguments.long_videos)
    finish(folder.path, evaluation, speed)
    if not arguments.no_report:
        options = ReportOptions(title=Path(arguments.results).name)
        report(folder.path, evaluation, results, frames=arguments.frames, options=options)
    return EXIT_OK


def evaluate_model(arguments: argparse.Namespace) -> int:
    from mindvideo.assembly.configuration import load_config
    from mindvideo.config import dump_config, find_config

    cfg = load_config(arguments.config, arguments.overrides)
    weights = check_weights_file(arguments.weights or cfg.weights)
    # MindSpore and the models load only now, so that a mistake in the arguments gets its line at once.
    from mindvideo.assembly import build_tracker, labelled_set, prepare_device, with_scenes
    from mindvideo.assembly.evaluation import frame_opener, labelled_images, labelled_videos
    from mindvideo.assembly.labelled_run import LabelledRun

    ground_truth, open_frames = labelled_videos(cfg), frame_opener(cfg)
    if not arguments.any_classes:
        require_same_classes(ground_truth, weights)
    folder = RunFolder.plan(output=arguments.output, name=f"{cfg.name}-eval", log_level=cfg.runtime.log_level)
    output = folder.path
    settings = {**result_settings(cfg, weights), "annotations": str(Path(labelled_set(cfg).annotations).resolve())}
    if arguments.analysis:
        cfg.inference.analysis_folder = str(output / "analysis")
    store = VideoStore(output / "videos", settings=settings, made_with=weights_facts(weights), lock_in=output)
    with store:
        store.start_if_in_use()
        if not arguments.force:
            store.require_same_settings()
        prepare_device(cfg)
        tracker = with_scenes(cfg, build_tracker(cfg, weights=weights), evaluated=True)
        run = LabelledRun.begin(store, ground_truth.videos, force=arguments.force)
        if arguments.analysis:
            write_class_names(output / "analysis", ground_truth.categories)
        folder.begin(config_file=find_config(arguments.config), resolved_config=dump_config(cfg), weights=str(weights))
        model_speed = run.run_missing(tracker, open_frames)
        store.gather(folder.path / "results.json", run.rows)
    results = run.results()
    rule, files = arguments.long_videos or cfg.evaluation.long_videos, labelled_set(cfg)
    if files.kind == "image":
        finish_images(folder.path, labelled_images(cfg), results, model_speed)
        return EXIT_OK
    remember(folder.path, folder.path / "results.json", files.annotations, files.frames, rule, training_of(weights))
    evaluation, speed = evaluate(ground_truth, results, rule=rule)
    finish(folder.path, evaluation, {**model_speed, **speed})
    if cfg.evaluation.report and not arguments.no_report:
        options = ReportOptions(
            title=cfg.name,
            videos=cfg.evaluation.report_videos,
            megabytes=cfg.evaluation.report_megabytes,
            confidence=cfg.evaluation.confidence,
            training=training_of(weights),
        )
        report(folder.path, evaluation, results, frames=files.frames, options=options)
    return EXIT_OK


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


def remember(folder: Path, results, annotations, frames, rule: str | None, training: Path | None = None) -> None:
    """Which files were compared, for mindvideo report."""
    places = {"results": results, "annotations": annotations, "frames": frames, "training": training}
    absolute = {name: str(Path(place).resolve()) if place else None for name, place in places.items()}
    write_json(folder / EVALUATED, {**absolute, "long_videos": rule or None})


def evaluate(ground_truth: GroundTruth, results: Results, *, rule: str | None) -> tuple[Evaluation, dict]:
    start = time.perf_counter()
    evaluation = evaluate_results(
        ground_truth,
        results,
        long_videos=long_videos(ground_truth, rule) if rule else None,
        progress=lambda videos: progress(videos, total=len(videos), label="comparing", unit="video"),
    )
    return evaluation, {"evaluation_seconds": time.perf_counter() - start}


def finish(folder: Path, evaluation: Evaluation, speed: dict) -> None:
    """Write ``metrics.json`` and show the table."""
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


def report(
    folder: Path, evaluation: Evaluation, results: Results, *, frames: str | Path | None, options: ReportOptions
) -> None:
    path = write_report(folder, evaluation, results, frames=Path(frames) if frames else None, options=options)
    print(f"report: {path}")
