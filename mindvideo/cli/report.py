"""Write report.html of a run folder again: an evaluation, a training, or both."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from mindvideo.cli.arguments import EXIT_OK, OneLineParser, number, whole_number
from mindvideo.errors import UserError
from mindvideo.evaluation.evaluator import evaluate_results
from mindvideo.evaluation.ground_truth import read_ground_truth
from mindvideo.evaluation.results_json import ResultsFile
from mindvideo.evaluation.splits import LengthRules, long_videos
from mindvideo.logs import set_up_logging
from mindvideo.report.run_report import EVALUATED, ReportOptions, write_report
from mindvideo.run_folder import METRICS


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = OneLineParser(description=__doc__)
    parser.add_argument("run", metavar="RUN_DIR", help="folder that mindvideo eval or mindvideo train wrote")
    parser.add_argument("--training", metavar="DIR", help="show the curves of this training (default: RUN_DIR's own)")
    parser.add_argument(
        "--videos", type=whole_number(0, 10_000), default=24, help="videos shown, the worst ones (default: 24)"
    )
    parser.add_argument(
        "--megabytes", type=number(1, 10_000), default=25.0, help="size the pictures may reach (default: 25)"
    )
    parser.add_argument(
        "--confidence", type=number(0, 1), default=0.3, help="minimum score of a track drawn (default: 0.3)"
    )
    parser.add_argument("--frames", metavar="DIR", help="folder of the frames, where they have moved")
    parser.add_argument("--title", help="heading of the page (default: name of the folder)")
    return parser.parse_args(arguments)


def main() -> int:
    given = parse_arguments()
    set_up_logging("info")
    folder = Path(given.run)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    evaluated = folder / EVALUATED
    source = json.loads(evaluated.read_text(encoding="utf-8")) if evaluated.is_file() else {}
    training = Path(given.training or source.get("training") or folder)
    if not evaluated.is_file() and not (training / METRICS).is_file():
        raise UserError(f"{folder}: neither {EVALUATED} of mindvideo eval nor {METRICS} of mindvideo train is in it")
    options = ReportOptions(
        title=given.title or folder.resolve().name,
        videos=given.videos,
        megabytes=given.megabytes,
        confidence=given.confidence,
        training=training,
    )
    evaluation = results = frames = None
    if source:
        ground_truth = read_ground_truth(source["annotations"])
        results = ResultsFile(source["results"])
        long = long_videos(ground_truth, LengthRules.from_facts(source))
        evaluation = evaluate_results(ground_truth, results, long_videos=long)
        frames = given.frames or source.get("frames")
    path = write_report(folder, evaluation, results, frames=Path(frames) if frames else None, options=options)
    print(f"report: {path}")
    return EXIT_OK
