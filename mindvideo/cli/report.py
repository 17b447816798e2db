"""Write report.html of a run folder again (an evaluation, a training, or both), or compare several runs on one page."""

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
from mindvideo.files import check_new_file
from mindvideo.logs import set_up_logging
from mindvideo.report.comparison import COMPARISON, MAX_RUNS, read_run, short_names, write_comparison
from mindvideo.report.run_report import EVALUATED, ReportOptions, write_report
from mindvideo.run_folder import METRICS

EXAMPLES = """
Examples:
  mindvideo report runs/toy                          the page of one run, written into its folder
  mindvideo report runs/a-eval runs/b-eval           figures, classes, curves and settings side by side
"""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = OneLineParser(description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "runs", metavar="RUN_DIR", nargs="+", help="folder that mindvideo eval or mindvideo train wrote"
    )
    parser.add_argument("--output", metavar="FILE", help=f"with several runs: the page (default: {COMPARISON} here)")
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
    given = parser.parse_args(arguments)
    if given.output and len(given.runs) == 1:
        raise UserError("--output is for several runs; the report of one is written into its folder")
    return given


def main() -> int:
    given = parse_arguments()
    set_up_logging("info")
    folders = [Path(run) for run in given.runs]
    return write_one(given, folders[0]) if len(folders) == 1 else compare(given, folders)


def compare(given: argparse.Namespace, folders: Sequence[Path]) -> int:
    """One page of several runs."""
    if len(folders) > MAX_RUNS:
        raise UserError(f"{len(folders)} runs: at most {MAX_RUNS} can be told apart on one page")
    runs = [read_run(folder, name) for folder, name in zip(folders, short_names(folders))]
    output = Path(given.output or COMPARISON)
    check_new_file(output, overwrite=output.suffix == ".html", inputs=[])
    write_comparison(output, runs, title=given.title or " and ".join(run.name for run in runs))
    print(f"comparison: {output}")
    return EXIT_OK


def write_one(given: argparse.Namespace, folder: Path) -> int:
    """The report of one run, in its folder."""
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
