"""One video from reader to files: run by a network, or drawn again from its result."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Protocol

from mindvideo.data.media.reader import VideoReader
from mindvideo.errors import UserError
from mindvideo.files import NO_ROOM
from mindvideo.inference.compile_notice import compiling_seconds
from mindvideo.inference.output.store import VideoReport
from mindvideo.inference.output.video_files import OutputChoice, VideoFiles
from mindvideo.inference.pipeline import WriteAfter
from mindvideo.inference.trackers.tracker import frame_of
from mindvideo.logs import progress
from mindvideo.masks.rle import has_pixels
from mindvideo.structures import Frame, VideoInstances

_MAX_PROBLEMS_SHOWN = 5
logger = logging.getLogger("mindvideo.inference")


class FramePredictor(Protocol):
    """A :class:`Predictor`, or something around one."""

    def track_frames(
        self, source: VideoReader, /, *, video_id: int | str, on_problem: Callable[[str], None], stop: threading.Event
    ) -> Tracked: ...

    @property
    def result(self) -> VideoInstances: ...

    @property
    def cuts(self) -> list[int]: ...


Tracked = Generator[tuple[Frame, VideoInstances], None, None]


class NoRoomError(UserError):
    """The disk is full: no further video can be written either."""


def run_video(
    predictor: FramePredictor,
    reader: VideoReader,
    *,
    folder: Path,
    video_id: int | str,
    choice: OutputChoice,
    stop: threading.Event,
    endless: bool = False,
    queue_depth: int = 8,
) -> tuple[VideoReport, VideoInstances]:
    """Read, track, draw and write one video. ``endless``: being stopped is this source's way to end (a camera).

    Problems with single frames are logged and counted; anything else removes what was begun and is raised.
    """
    report = VideoReport(name=reader.name, video_id=video_id, status="done")

    def note_problem(problem: str) -> None:
        report.problems.append(problem)
        if len(report.problems) <= _MAX_PROBLEMS_SHOWN:
            logger.warning("%s: %s", reader.name, problem)

    with reader:
        files = VideoFiles(
            folder, choice=choice, frames_per_second=reader.frames_per_second, cuts=lambda: predictor.cuts
        )
        tracked = predictor.track_frames(reader, video_id=video_id, on_problem=note_problem, stop=stop)
        with _timed(report), _kept_whole(files):
            _write_frames(files, tracked, report, total=reader.num_frames, queue_depth=queue_depth)
            result = predictor.result
            if stop.is_set() and not endless:
                report.status = "interrupted"
                files.keep_partial(result)
            else:
                files.finish(result)
    _count_tracks(report, result, files)
    report.cuts = predictor.cuts
    return report, result


def draw_video(
    result: VideoInstances,
    reader: VideoReader,
    *,
    folder: Path,
    report: VideoReport,
    choice: OutputChoice,
    stop: threading.Event | None = None,
) -> VideoReport:
    """Draw a finished video again, from its result: overlay, mask pictures and COCO file, without a network.

    ``stop``, once set, ends it with a UserError; the files of before stay as they were.
    """
    report = dataclasses.replace(report, status="redrawn", frames=0, problems=[])

    def drawn() -> Tracked:
        for place, frame in enumerate(reader.frames(report.problems.append)):
            if stop is not None and stop.is_set():
                raise UserError(f"{reader.name}: stopped while it was drawn again")
            if place >= result.num_frames or frame.size != tuple(result.size):
                raise UserError(f"{reader.name}: its frames are not those that results.json was made from")
            yield frame, frame_of(result, place)

    with reader:
        files = VideoFiles(
            folder,
            choice=choice,
            frames_per_second=reader.frames_per_second,
            results=False,
            cuts=lambda: report.cuts,
        )
        with _timed(report), _kept_whole(files):
            _write_frames(files, drawn(), report, total=result.num_frames, queue_depth=8, label=f"{report.name}, drawn")
            if report.frames < result.num_frames:
                raise UserError(
                    f"{reader.name}: {report.frames} frames can be read, results.json has {result.num_frames}; is it "
                    "the same video?"
                )
            files.finish(result)
    _count_tracks(report, result, files)
    return report


def _write_frames(
    files: VideoFiles, tracked: Tracked, report: VideoReport, *, total: int | None, queue_depth: int, label: str = ""
) -> None:
    with WriteAfter(files.add, depth=queue_depth) as writing:
        with contextlib.closing(tracked):
            for item in progress(tracked, total=total, label=label or report.name, unit="frame"):
                writing.put(item)
                report.frames += 1
        writing.flush()


def _count_tracks(report: VideoReport, result: VideoInstances, files: VideoFiles) -> None:
    report.tracks = len(result)
    report.drawn = len(files.drawn_tracks)
    report.best_score = float(result.scores.max()) if len(result) else None
    report.lives = {str(track): life for track, life in zip(result.track_ids.tolist(), lives_of(result))}


def lives_of(result: VideoInstances) -> list[list[int] | None]:
    """Of each track the first and the last frame in which it has a mask with a pixel; None where it has none."""
    lives: list[list[int] | None] = []
    for masks in result.segmentations:
        seen = [place for place, mask in enumerate(masks) if mask is not None and has_pixels(mask)]
        lives.append([seen[0], seen[-1]] if seen else None)
    return lives


@contextlib.contextmanager
def _timed(report: VideoReport) -> Iterator[None]:
    started, compiling = time.monotonic(), compiling_seconds()
    yield
    report.seconds = time.monotonic() - started
    report.compile_seconds = compiling_seconds() - compiling


@contextlib.contextmanager
def _kept_whole(files: VideoFiles) -> Iterator[None]:
    """An interruption keeps what is written, under partial names; an error removes it."""
    try:
        yield
    except KeyboardInterrupt:
        files.keep_partial(None)
        raise
    except OSError as error:
        files.abandon()
        raise without_room(error, files.folder) from error
    except BaseException:
        files.abandon()
        raise


def without_room(error: Exception, folder: Path) -> Exception:
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return NoRoomError(
            f"{folder}: no room to write ({error.strerror}); free some space or give another --output. "
            "Finished videos stay, this one is to be run again"
        )
    return error
