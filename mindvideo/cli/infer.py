"""Run a trained model on videos: an overlay to look at and results.json for each, and a table at the end."""

from __future__ import annotations

import argparse
import contextlib
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from mindvideo.assembly.configuration import load_config
from mindvideo.assembly.model_choice import configuration_for, only_published
from mindvideo.cli.arguments import CONFIG_EPILOG, EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, config_parser
from mindvideo.cli.next_step import analyze_command, official_annotations
from mindvideo.cli.output_folder import PROCESSES, plan_folder
from mindvideo.cli.redraw import redraw
from mindvideo.cli.result_settings import check_weights_file, result_settings, weights_facts
from mindvideo.config import dump_config, find_config
from mindvideo.data.exporters.formats import require_formats
from mindvideo.data.media.frame_size import parse_size
from mindvideo.data.media.reader import FrameSelection, VideoReader
from mindvideo.data.media.sources import VideoSource, find_videos
from mindvideo.errors import UserError
from mindvideo.inference.output.class_names import write_class_names
from mindvideo.inference.output.sharing import PeerLeftError, VideoSharing
from mindvideo.inference.output.store import VideoReport, VideoStore
from mindvideo.inference.output.video_files import OutputChoice
from mindvideo.inference.output.video_writer import find_encoder
from mindvideo.inference.predictor import Predictor
from mindvideo.inference.video_run import NoRoomError
from mindvideo.inference.video_runner import VideoRunner
from mindvideo.logs import set_up_logging
from mindvideo.processes import end_with_parent, num_launched
from mindvideo.run_folder import RESOLVED_CONFIG
from mindvideo.weights.find import published_file

EXAMPLES = """
Inputs:  clip.mp4   frames/   folder_of_videos/   'shots/*/*.jpg'   camera:0   - (MJPEG or raw RGB24 on standard input)
Without -c the weights say which model they are of; without both it is a small published one, downloaded once:
  mindvideo infer holiday.mp4
Examples of overrides:
  inference.confidence=0.5      draw only tracks that score at least this
  inference.short_side=480      size of the frames that the network sees
  inference.write=[video,cvat,csv]   what is written beside results.json (docs/exchange.md)
Several processes share the videos:
  mindvideo launch 4 infer videos/ -c vistr --weights vistr_r50.pth --output out
For an official set, with the ids of its annotation file: mindvideo eval (docs/evaluation.md)
Another look at what is finished, without the network:
  mindvideo infer -c vistr --output out --redraw inference.confidence=0.1
Ctrl-C once ends the video at hand and keeps what is done as *.partial.*; twice stops at once.
"""
_OVERRIDE = re.compile(r"[A-Za-z_]\w*(\.\w+)*=.*", re.DOTALL)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = config_parser(__doc__, config_required=False)
    parser.epilog = EXAMPLES + CONFIG_EPILOG
    parser.usage = "%(prog)s [INPUT ...] [-c NAME] [--weights FILE] [options] [SECTION.KEY=VALUE ...]"
    parser.add_argument(
        "--input", action="append", default=[], metavar="PATH",
        help="file, folder, glob, camera:N or -; the words --input may be left out",
    )  # fmt: skip
    parser.add_argument("--frames", default=":", metavar="START:STOP:STEP", help="which frames, for instance 0:300:2")
    parser.add_argument("--raw-size", metavar="WxH", help="size of raw RGB24 frames on standard input")
    parser.add_argument("--analysis", action="store_true", help="keep what an online model saw, for mindvideo analyze")
    parser.add_argument("--force", action="store_true", help="run finished videos again")
    parser.add_argument("--redraw", action="store_true", help="draw finished videos again, from their results")
    given = parser.parse_intermixed_args(arguments)
    words, given.overrides = given.overrides, []
    for word in words:
        is_override = _OVERRIDE.fullmatch(word) and not Path(word).exists()
        (given.overrides if is_override else given.input).append(word)
    if given.redraw and given.output is None:
        raise UserError("--redraw needs --output, the folder of the finished videos")
    return given


def main() -> int:
    arguments = parse_arguments()
    arguments.config = arguments.config or without_config(arguments)
    cfg = load_config(arguments.config, arguments.overrides)
    inputs = arguments.input or list(cfg.inference.input)
    if not inputs and not arguments.redraw:
        raise UserError("no input: name a video, a folder of frames or of videos, a glob, camera:0 or -")
    selection = FrameSelection.parse(arguments.frames)
    raw_size = None if arguments.raw_size is None else parse_size(arguments.raw_size)
    inference = cfg.inference
    choice = output_choice(inference)
    for given in inputs:
        point_to_eval(Path(given), arguments)
    sources = [source for given in inputs for source in find_videos(given)]
    require_writable(choice)
    if arguments.redraw:
        set_up_logging(cfg.runtime.log_level)
        reports = redraw(Path(arguments.output), sources, choice=choice, frames_per_second=inference.frames_per_second)
        return report_on(reports, Path(arguments.output))
    weights = weights_of(arguments, cfg)
    run_folder = plan_folder(arguments.output, cfg, name=f"{cfg.name}-infer")
    output = run_folder.path
    sharing = shared_over_processes(cfg, output)
    stop = "" if selection.stop is None else selection.stop
    settings = {**result_settings(cfg, weights), "frames": f"{selection.start}:{stop}:{selection.step}"}

    def open_source(source: VideoSource) -> VideoReader:
        return source.open(selection=selection, raw_size=raw_size, frames_per_second=inference.frames_per_second)

    def record_start() -> None:
        run_folder.begin(
            config_file=find_config(arguments.config), resolved_config=dump_config(cfg), weights=str(weights)
        )

    if arguments.analysis:
        cfg.inference.analysis_folder = str(output / "analysis")
    with VideoStore(output, settings=settings, made_with=weights_facts(weights)) as store:
        runner = VideoRunner(
            store=store,
            make_predictor=predictor_maker(cfg, weights),
            on_start=record_start,
            open_source=open_source,
            choice=choice,
            interruption=stop_on_interrupt,
            queue_depth=inference.read_ahead,
            redraw_frames=frames_to_redraw(inference),
            sharing=sharing,
        )
        reports = run_and_gather(runner, sources, force=arguments.force)
    if not sharing.is_first:
        return EXIT_OK
    code = report_on(reports, output)
    if arguments.analysis and (line := next_analysis(reports, sources, output)):
        print(line)
    return code


def frames_to_redraw(inference: ConfigDict) -> int:
    """How many frames a video may have to be drawn again: a longer one's result has lost the masks of the first."""
    keeps_all = 10**9  # a family without that key keeps every frame
    return inference.get("kept_frames", keeps_all) if inference.redraw else 0


def output_choice(inference: ConfigDict) -> OutputChoice:
    return OutputChoice(
        write=tuple(inference.write),
        draw=tuple(inference.draw),
        confidence=inference.confidence,
        max_overlap=inference.max_overlap,
        class_names=dict(enumerate(inference.class_names, start=1)),
    )


def without_config(arguments: argparse.Namespace) -> str:
    """The configuration that is meant where none is named, and a line that says so."""
    recorded = Path(arguments.output or "") / RESOLVED_CONFIG
    if arguments.redraw and recorded.is_file():
        return str(recorded)
    chosen = configuration_for(arguments.weights)
    print(f"no -c given: {chosen}", file=sys.stderr)
    return chosen


def weights_of(arguments: argparse.Namespace, cfg: ConfigDict) -> Path:
    """The weights given, else the published ones of the configuration."""
    if given := arguments.weights or cfg.weights:
        return check_weights_file(given)
    return published_file(only_published(arguments.config))


def require_writable(choice: OutputChoice) -> None:
    """To say that an encoder is missing before the work, not after it."""
    if "video" in choice.write:
        find_encoder()
    require_formats(choice.write)


def point_to_eval(given: Path, arguments: argparse.Namespace) -> None:
    """Results of an official set are for its server, which knows the ids of its file only."""
    annotations = official_annotations(given) if given.is_dir() else None
    if annotations is not None:
        model = ["-c", arguments.config, *(["--weights", arguments.weights] if arguments.weights else [])]
        print(
            f"{given} holds the frames of {annotations}; for results with the ids of that file: "
            f"{shlex.join(['mindvideo', 'eval', *model, f'data.valid={annotations}@{given}'])}",
            file=sys.stderr,
        )


def shared_over_processes(cfg: ConfigDict, output: Path) -> VideoSharing:
    """With the processes that a launcher started together with this one, which are connected first."""
    if num_launched() == 1:
        return VideoSharing.single()
    from mindvideo.assembly import start_process
    from mindvideo.assembly.evaluation import sharing_of

    end_with_parent()
    return sharing_of(start_process(cfg), output / PROCESSES)


def next_analysis(reports: Sequence[VideoReport], sources: Sequence[VideoSource], output: Path) -> str | None:
    """The command that draws the first video's record."""
    for report, source in zip(reports, sources):
        video = source.file or (source.pictures[0].parent if source.pictures else None)
        if report.video_id is not None and (line := analyze_command(output, report.video_id, video=video)):
            return line
    return None


def run_and_gather(runner: VideoRunner, sources: Sequence[VideoSource], *, force: bool) -> list[VideoReport]:
    """However the run ends, ``results.json`` holds every finished video."""
    try:
        reports = runner.run_all(sources, force=force)
    except NoRoomError:
        raise  # nor is there room to gather
    except PeerLeftError as error:
        if runner.sharing.is_first:
            runner.store.gather()
        raise UserError(f"process {error} has stopped; its own lines say why. Finished videos are kept") from None
    except BaseException:
        if runner.has_begun and runner.sharing.is_first:
            runner.store.gather()
        raise
    if not runner.sharing.is_first:
        return reports
    if runner.has_begun or any(report.status == "skipped" for report in reports):
        runner.store.start()
        runner.store.gather()
    return reports


def report_on(reports: Sequence[VideoReport], output: Path) -> int:
    """Show the table; the exit code."""
    print(summary_table(reports))
    if output.is_dir():
        print(f"results in {output}")
    if any(report.status == "interrupted" for report in reports):
        return EXIT_INTERRUPTED
    return EXIT_FAILURE if any(report.went_wrong for report in reports) else EXIT_OK


def predictor_maker(cfg: ConfigDict, weights: Path) -> Callable[[], Predictor]:
    def make() -> Predictor:
        from mindvideo.assembly import VideoPredictor  # MindSpore loads only when there is something to run

        predictor = VideoPredictor.from_config(cfg, weights=weights)
        if cfg.inference.analysis_folder:
            write_class_names(cfg.inference.analysis_folder, predictor.class_names)
        return predictor

    return make


@contextlib.contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """The first Ctrl-C (or SIGTERM) sets the event, the second raises KeyboardInterrupt."""
    stop = threading.Event()

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        print("ending this video; once more to stop at once", file=sys.stderr)

    earlier = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def summary_table(reports: Sequence[VideoReport]) -> str:
    rows = [("video", "status", "frames", "tracks", "drawn", "best score", "frames/s", "problems")]
    for report in reports:
        rate = "-" if report.frames_per_second is None else f"{report.frames_per_second:.2f}"
        problems = str(len(report.problems)) if report.problems else "-"
        drawn = "-" if report.drawn is None else str(report.drawn)
        best = "-" if report.best_score is None else f"{report.best_score:.2f}"
        counts = (str(report.frames), str(report.tracks), drawn, best)
        rows.append((report.name, report.status, *counts, rate, problems))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        left = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2])]
        right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:])]
        lines.append("  ".join([*left, *right]).rstrip())
    lines.insert(1, "-" * max(len(line) for line in lines))
    return "\n".join(lines)
