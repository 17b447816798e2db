"""Evaluate a model on a labelled set, or a result file from any source, with the YouTube-VIS figures and more."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mindvideo.cli.arguments import CONFIG_EPILOG, EXIT_OK, config_parser
from mindvideo.cli.model_evaluation import evaluate_model
from mindvideo.cli.scoring import evaluate, finish, remember, report
from mindvideo.errors import UserError
from mindvideo.evaluation.ground_truth import read_ground_truth
from mindvideo.evaluation.results_json import ResultsFile
from mindvideo.evaluation.splits import LengthRules
from mindvideo.evaluation.which_set import require_same_set
from mindvideo.files import write_json
from mindvideo.report.run_report import ReportOptions
from mindvideo.run_folder import ENVIRONMENT, RunFolder, describe_environment

EXAMPLES = """
Two ways:
  mindvideo eval -c vistr --weights vistr_r50.ckpt              run the model over data.valid, then evaluate
  mindvideo eval --results results.json --annotations gt.json   evaluate a file; .json, .gz or the .zip for a server
A set without labels (data.valid=ytvis19/valid, an official one) gives results.json for its server, and the command to
check, pack and send it; --submit does that too. --weights RUN/ evaluates all that train.keep_weights_every kept:
  mindvideo eval -c vistr --weights vistr_r50.pth data.valid=ytvis19/valid --submit
  mindvideo eval -c vistr --weights runs/vistr
  mindvideo launch 4 eval -c vistr --weights vistr_r50.pth --output runs/eval     four processes share the videos
The run folder (--output) gets metrics.json, results.json (of a model) and report.html. A model's finished videos are
kept there: the same command goes on where it was interrupted.
"""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = config_parser(__doc__, config_required=False)
    parser.epilog = EXAMPLES + CONFIG_EPILOG
    parser.add_argument("--results", metavar="FILE", help="evaluate this result file; no model is needed")
    parser.add_argument("--annotations", metavar="FILE", help="annotations that --results is compared with")
    parser.add_argument(
        "--frames", metavar="DIR", help="with --results: folder of the frames, to show them in the report"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--long-videos", metavar="N|FILE", help="score videos of at least N frames, or listed, apart")
    length.add_argument("--short-videos", metavar="FILE", help="score videos apart that the file does not list")
    parser.add_argument(
        "--submit", action="store_true", help="of a model: check and pack the results; send them if set up"
    )
    parser.add_argument("--analysis", action="store_true", help="keep what an online model saw, for mindvideo analyze")
    parser.add_argument("--force", action="store_true", help="run finished videos again")
    parser.add_argument("--any-classes", action="store_true", help="the set's classes may differ from the weights' own")
    parser.add_argument("--no-report", action="store_true", help="do not write report.html")
    given = parser.parse_intermixed_args(arguments)  # overrides may stand between the options
    if given.results and not given.annotations:
        raise UserError("--results needs --annotations, the labelled file to compare with")
    if given.results and given.config:
        raise UserError("give either --results with --annotations, or -c with --weights, not both")
    if given.results and given.submit:
        raise UserError(
            "--submit is for a model's run; for a result file: mindvideo submit --results FILE --annotations FILE"
        )
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
    rules = LengthRules(long=arguments.long_videos or "", short=arguments.short_videos or "")
    remember(folder.path, arguments.results, arguments.annotations, arguments.frames, rules)
    require_same_set(results, {video.id: video for video in ground_truth.videos}, arguments.annotations)
    evaluation, speed = evaluate(ground_truth, results, rules=rules)
    finish(folder.path, evaluation, speed)
    if not arguments.no_report:
        options = ReportOptions(title=Path(arguments.results).name)
        report(folder.path, evaluation, results, frames=arguments.frames, options=options)
    return EXIT_OK
