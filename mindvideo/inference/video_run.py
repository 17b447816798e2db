"""One video from reader to files, and the folder of many of them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mindvideo.data.media.reader import BrokenFrame, VideoReader
from mindvideo.errors import UserError
from mindvideo.files import NO_ROOM, atomic_path, write_json
from mindvideo.inference.output.result_files import RESULTS, OutputChoice, ResultFiles
from mindvideo.inference.pipeline import WriteBehind
from mindvideo.inference.predictor import Predictor
from mindvideo.logs import progress
from mindvideo.structures import Frame

RECORD, VIDEOS = "run.json", "videos.json"
_MOST_PROBLEMS_SHOWN = 5
logger = logging.getLogger("mindvideo.inference")


class NoRoomError(UserError):
    """The disk is full: no further video can be written either."""


@dataclasses.dataclass(kw_only=True)
class VideoReport:
    """How one video went. ``status``: done, skipped, interrupted or failed."""

    name: str
    video_id: int
    status: str
    frames: int = 0
    tracks: int = 0
    seconds: float = 0.0
    problems: list[str] = dataclasses.field(default_factory=list)

    @property
    def went_wrong(self) -> bool:
        return self.status == "failed" or (self.status != "skipped" and bool(self.problems))


class StoppableReader(VideoReader):
    """A reader that comes to its end once ``stop`` is set (but gives at least one frame)."""

    def __init__(self, reader: VideoReader, stop: threading.Event) -> None:
        self.name, self.size = reader.name, reader.size
        self.num_frames, self.frames_per_second = reader.num_frames, reader.frames_per_second
        self._reader, self._stop = reader, stop

    def decode(self) -> Iterator[Frame | BrokenFrame]:
        for item in self._reader.decode():
            yield item
            if self._stop.is_set():
                return

    def close(self) -> None:
        self._reader.close()


def run_video(
    predictor: Predictor,
    reader: VideoReader,
    *,
    folder: Path,
    video_id: int,
    choice: OutputChoice,
    stop: threading.Event,
    endless: bool = False,
    queue_depth: int = 8,
) -> VideoReport:
    """Read, track, draw and write one video. ``endless``: being stopped is this source's way to end (a camera).

    Problems with single frames are logged and counted; anything else removes what was begun and is raised.
    """
    report = VideoReport(name=reader.name, video_id=video_id, status="done")
    started = time.monotonic()

    def note_problem(problem: str) -> None:
        report.problems.append(problem)
        if len(report.problems) <= _MOST_PROBLEMS_SHOWN:
            logger.warning("%s: %s", reader.name, problem)

    with reader:
        files = ResultFiles(folder, choice=choice, frames_per_second=reader.frames_per_second)
        try:
            with WriteBehind(files.add, depth=queue_depth) as writing:
                source = StoppableReader(reader, stop)
                with contextlib.closing(
                    predictor.track_frames(source, video_id=video_id, on_problem=note_problem)
                ) as tracked:
                    for item in progress(tracked, total=reader.num_frames, label=reader.name, unit="frame"):
                        writing.put(item)
                        report.frames += 1
                writing.flush()
            result = predictor.result
            report.tracks = len(result)
            if stop.is_set() and not endless:
                report.status = "interrupted"
                files.keep_partial(result)
            else:
                files.finish(result)
        except KeyboardInterrupt:
            files.keep_partial(None)
            raise
        except OSError as error:
            files.abandon()
            raise _without_room(error, folder) from error
        except BaseException:
            files.abandon()
            raise
    report.seconds = time.monotonic() - started
    return report


def _without_room(error: OSError, folder: Path) -> Exception:
    if error.errno in NO_ROOM:
        return NoRoomError(
            f"{folder}: no room to write ({error.strerror}); free some space or give another --output. "
            "Finished videos stay, this one is to be run again"
        )
    return error


class VideosFolder:
    """``<output>/<video>/`` for each video: which are finished, their ids, and all their results as one file."""

    def __init__(self, path: Path, *, settings: dict[str, Any]) -> None:
        self.path = path
        self._settings = settings
        self._earlier_settings: dict[str, dict[str, Any]] = {}
        self._ids: dict[str, int] = {}
        if (path / VIDEOS).is_file():
            self._ids = {video["name"]: video["id"] for video in json.loads((path / VIDEOS).read_text())}

    def folder_of(self, name: str) -> Path:
        return self.path / name

    def id_of(self, name: str) -> int:
        """The same number for the same name, also in later runs into this folder."""
        return self._ids.setdefault(name, max(self._ids.values(), default=0) + 1)

    def finished(self, name: str) -> VideoReport | None:
        """The report of an earlier run that finished this video."""
        report = self._read_record(name)
        if report is None:
            return None
        if self._earlier_settings[name] != self._settings:
            logger.warning("%s: finished earlier with other settings or weights; --force runs it again", name)
        return dataclasses.replace(report, status="skipped")

    def forget(self, name: str) -> None:
        """The video is about to be run (again)."""
        (self.folder_of(name) / RECORD).unlink(missing_ok=True)

    def record(self, report: VideoReport) -> None:
        content = {"report": dataclasses.asdict(report), "settings": self._settings}
        write_json(self.folder_of(report.name) / RECORD, content)

    def gather(self) -> None:
        """``results.json`` with the records of every finished video here, ``videos.json`` with their names and ids."""
        reports = [report for name in self._ids if (report := self._read_record(name)) is not None]
        listed = [{"id": report.video_id, "name": report.name, "length": report.frames} for report in reports]
        write_json(self.path / VIDEOS, listed)
        with atomic_path(self.path / RESULTS) as temporary, open(temporary, "w", encoding="utf-8") as stream:
            stream.write("[")
            separator = ""
            for report in reports:
                content = (self.folder_of(report.name) / RESULTS).read_text(encoding="utf-8").strip()[1:-1]
                if content:
                    stream.write(separator + content)
                    separator = ",\n"
            stream.write("]\n")

    def _read_record(self, name: str) -> VideoReport | None:
        record = self.folder_of(name) / RECORD
        if not record.is_file() or not (self.folder_of(name) / RESULTS).is_file():
            return None
        content = json.loads(record.read_text(encoding="utf-8"))
        self._earlier_settings[name] = content["settings"]
        return VideoReport(**content["report"])
