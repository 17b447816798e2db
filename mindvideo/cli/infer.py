"""Run a trained model on videos: an overlay to look at and results.json for each, and a table at the end."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

from mindvideo.assembly.configuration import load_config
from mindvideo.cli.arguments import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, config_parser
from mindvideo.config import dump_config, find_config
from mindvideo.data.media.frame_size import parse_size
from mindvideo.data.media.reader import FrameSelection
from mindvideo.data.media.sources import VideoSource, find_videos
from mindvideo.errors import UserError
from mindvideo.inference.output.result_files import OutputChoice
from mindvideo.inference.output.video_writer import find_encoder
from mindvideo.inference.video_run import NoRoomError, VideoReport, VideosFolder, run_video
from mindvideo.run_folder import RunFolder

EXAMPLES = """
Inputs:  clip.mp4   frames/   folder_of_videos/   'shots/*/*.jpg'   camera:0   - (MJPEG or raw RGB24 on standard input)
Examples of overrides:
  inference.confidence=0.5      draw only tracks that score at least this
  inference.short_side=480      size of the frames that the network sees
  inference.write=[video,masks,coco]   what is written beside results.json
Ctrl-C once ends the video at hand and keeps what is done as *.partial.*; twice stops at once.
"""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = config_parser(__doc__)
    parser.epilog = EXAMPLES + parser.epilog
    parser.add_argument("--input", required=True, metavar="PATH", help="file, folder, glob, camera:N or -")
    parser.add_argument("--frames", default=":", metavar="START:STOP:STEP", help="which frames, for instance 0:300:2")
    parser.add_argument("--raw-size", metavar="WxH", help="size of raw RGB24 frames on standard input")
    parser.add_argument("--analysis", action="store_true", help="keep what an online model saw, for mindvideo analyze")
    parser.add_argument("--force", action="store_true", help="run finished videos again")
    return parser.parse_args(arguments)


def main() -> int:
    arguments = parse_arguments()
    cfg = load_config(arguments.config, arguments.overrides)
    inference = cfg.inference
    selection = FrameSelection.parse(arguments.frames)
    raw_size = None if arguments.raw_size is None else parse_size(arguments.raw_size)
    sources = find_videos(arguments.input)
    if arguments.weights is None:
        raise UserError("--weights is missing: give a .ckpt of a training, or a published .pth")
    if "video" in inference.write:
        find_encoder()  # to say so before the work, not after it
    run_folder = RunFolder.create(output=arguments.output, name=f"{cfg.name}-infer", log_level=cfg.runtime.log_level)
    if arguments.analysis:
        cfg.inference.analysis_folder = str(run_folder.path / "analysis")
    settings = {
        "configuration": hashlib.sha256(dump_config(cfg).encode()).hexdigest(),
        "weights": str(arguments.weights),
        "frames": arguments.frames,
    }
    run_folder.record(
        config_file=find_config(arguments.config), resolved_config=dump_config(cfg), weights=settings["weights"]
    )
    videos = VideosFolder(run_folder.path, settings=settings)
    runner = VideoRunner(cfg, arguments.weights, videos)
    reports = runner.run_all(sources, selection=selection, raw_size=raw_size, force=arguments.force)
    videos.gather()
    print(summary_table(reports))
    print(f"results in {run_folder.path}")
    if any(report.status == "interrupted" for report in reports):
        return EXIT_INTERRUPTED
    return EXIT_FAILURE if any(report.went_wrong for report in reports) else EXIT_OK


class VideoRunner:
    """Runs the sources one after the other; the model is built when the first is really to be run."""

    def __init__(self, cfg, weights: str, videos: VideosFolder) -> None:
        inference = cfg.inference
        self._cfg, self._weights, self._videos = cfg, weights, videos
        self._predictor = None
        self._frames_per_second = inference.frames_per_second
        self._queue_depth = inference.read_ahead
        self._choice = OutputChoice(
            write=tuple(inference.write),
            draw=tuple(inference.draw),
            confidence=inference.confidence,
            most_overlap=inference.max_overlap,
        )

    def run_all(
        self,
        sources: Sequence[VideoSource],
        *,
        selection: FrameSelection,
        raw_size: tuple[int, int] | None,
        force: bool,
    ) -> list[VideoReport]:
        reports: list[VideoReport] = []
        for source in sources:
            finished = None if force else self._videos.finished(source.name)
            if finished is not None:
                reports.append(finished)
                continue
            try:
                report = self._run(source, selection, raw_size)
            except NoRoomError:
                raise
            except UserError as error:
                if len(sources) == 1:
                    raise
                print(f"error: {error}", file=sys.stderr)
                report = VideoReport(
                    name=source.name,
                    video_id=self._videos.id_of(source.name),
                    status="failed",
                    problems=[str(error)],
                )
            reports.append(report)
            if report.status == "interrupted":
                break
        return reports

    def _run(self, source: VideoSource, selection: FrameSelection, raw_size: tuple[int, int] | None) -> VideoReport:
        with source.open(selection=selection, raw_size=raw_size, frames_per_second=self._frames_per_second) as reader:
            predictor = self._get_predictor()
            self._videos.forget(source.name)
            with stop_on_interrupt() as stop:
                report = run_video(
                    predictor,
                    reader,
                    folder=self._videos.folder_of(source.name),
                    video_id=self._videos.id_of(source.name),
                    choice=dataclasses.replace(self._choice, class_names=predictor.class_names),
                    stop=stop,
                    endless=source.is_endless,
                    queue_depth=self._queue_depth,
                )
        if report.status == "done":
            self._videos.record(report)
        return report

    def _get_predictor(self):
        if self._predictor is None:
            from mindvideo.assembly import VideoPredictor  # MindSpore loads only when there is something to run

            self._predictor = VideoPredictor.from_config(self._cfg, weights=self._weights)
        return self._predictor


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
    rows = [("video", "status", "frames", "tracks", "frames/s", "problems")]
    for report in reports:
        rate = f"{report.frames / report.seconds:.2f}" if report.seconds else "-"
        problems = str(len(report.problems)) if report.problems else "-"
        rows.append((report.name, report.status, str(report.frames), str(report.tracks), rate, problems))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        left = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2])]
        right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:])]
        lines.append("  ".join([*left, *right]).rstrip())
    lines.insert(1, "-" * max(len(line) for line in lines))
    return "\n".join(lines)
