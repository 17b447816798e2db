"""The process that runs the models, one video after the other: tasks come as lines of JSON, news go back as lines.

in:   {"run": {"id", "folder", "config", "weights", "confidence", "max_pixels"}}   {"stop": id}
out:  {"id", "state": "running" | "done" | "failed" | "stopped", "message", "frames", "total", ...}
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import cv2

from mindvideo.errors import UserError
from mindvideo.inference.output.draw import draw_instances, rows_to_draw
from mindvideo.inference.output.store import VideoStore
from mindvideo.inference.output.video_files import OutputChoice
from mindvideo.inference.predictor import Predictor
from mindvideo.inference.source_facts import source_facts
from mindvideo.inference.video_run import run_video
from mindvideo.serve.job_input import only_video
from mindvideo.serve.jobs import DONE, FAILED, INPUT, PREVIEW, RESULT, RUNNING, STOPPED, TRACKS
from mindvideo.serve.limits import Limits
from mindvideo.serve.tracks import MAX_OVERLAP, write_tracks
from mindvideo.structures import Frame, VideoInstances

MakePredictor = Callable[[Path, Path], Predictor]  # of a configuration file and a weights file
_PREVIEW_SECONDS, _NEWS_SECONDS = 0.5, 0.2
_PREVIEW_SIDE = 640
logger = logging.getLogger("mindvideo.serve")


def work(make_predictor: MakePredictor, tasks: IO[str] | None = None, news: IO[str] | None = None) -> None:
    """Run every task until the lines end. Standard output is kept for the news: what prints goes to standard error."""
    if news is None:
        news = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
    worker = Worker(make_predictor, news)
    logging.getLogger("mindvideo").addHandler(_LinesAsNews(worker))
    for task in _tasks(sys.stdin if tasks is None else tasks, worker):
        worker.run(task)


class Worker:
    """Keeps the last model, since its graphs are compiled, and runs one video at a time."""

    def __init__(self, make_predictor: MakePredictor, news: IO[str]) -> None:
        self._make_predictor, self._news = make_predictor, news
        self._lock = threading.Lock()
        self._key: tuple[Any, ...] = ()
        self._predictor: Predictor | None = None
        self._running = ""
        self.stopped: dict[str, threading.Event] = {}

    def tell(self, **news: Any) -> None:
        """A line about the video at hand."""
        with self._lock:
            self._news.write(json.dumps({"id": self._running, **news}) + "\n")
            self._news.flush()

    def run(self, task: Mapping[str, Any]) -> None:
        self._running = task["id"]
        stop = self.stopped.setdefault(task["id"], threading.Event())
        folder = Path(task["folder"])
        try:
            news = self._run(task, folder, stop)
        except UserError as error:
            news = {"state": FAILED, "message": one_line(str(error), folder)}
        except Exception as error:  # noqa: BLE001  a visitor sees one line, the log has the rest
            logger.exception("%s", task["id"])
            news = {"state": FAILED, "message": one_line(f"{type(error).__name__}: {error}", folder)}
        if stop.is_set():
            news = {"state": STOPPED, "message": ""}
        if news["state"] != DONE:
            shutil.rmtree(folder / RESULT, ignore_errors=True)
        self.tell(**news)

    def _run(self, task: Mapping[str, Any], folder: Path, stop: threading.Event) -> dict[str, Any]:
        started = time.monotonic()
        shutil.rmtree(folder / RESULT, ignore_errors=True)
        source = only_video(folder / INPUT)
        with source.open() as reader:
            Limits(pixels=task["max_pixels"]).check_pixels(reader.size)
            self.tell(state=RUNNING, message="loading the model", total=reader.num_frames)
            predictor = self._model(Path(task["config"]), Path(task["weights"]))
            watched = Watched(predictor, Watch(folder / PREVIEW, self.tell, task["confidence"], predictor.class_names))
            choice = OutputChoice(write=("video", "frames"), draw=(), class_names=predictor.class_names)
            with VideoStore(folder / RESULT, settings={}) as store:
                store.start()
                video = store.register(name="video", source=source_facts(source))
                store.begin(video)
                report, result = run_video(
                    watched, reader, folder=store.folder_of(video), video_id=video.id, choice=choice, stop=stop
                )
                if report.status != "done":
                    return {"state": STOPPED, "message": ""}
                store.finish(video, report, result, source=video.source, class_names=predictor.class_names)
                store.gather()
                write_tracks(
                    folder / TRACKS,
                    result,
                    class_names=predictor.class_names,
                    frames_per_second=reader.frames_per_second,
                    covered=watched.watch.covered(),
                    cuts=report.cuts,
                )
        return {
            "state": DONE,
            "message": report.problems[0] if report.problems else "",
            "frames": report.frames,
            "total": report.frames,
            "num_tracks": sum(float(score) >= task["confidence"] for score in result.scores),
            "seconds": time.monotonic() - started,
        }

    def _model(self, settings: Path, weights: Path) -> Predictor:
        key = tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in (settings, weights))
        if self._predictor is None or key != self._key:
            self._predictor, self._key = None, ()  # frees the memory of the last one first
            self._predictor, self._key = self._make_predictor(settings, weights), key
        return self._predictor


class Watch:
    """Looks at every frame that is final: the preview, the news, and which tracks lie on surer ones."""

    def __init__(
        self, preview: Path, tell: Callable[..., None], confidence: float, class_names: Mapping[int, str]
    ) -> None:
        self._preview, self._tell = preview, tell
        self._confidence, self._class_names = confidence, class_names
        self._frames = 0
        self._last_picture = self._last_news = -1e9
        self._seen: dict[int, int] = {}
        self._shown: dict[int, int] = {}

    def look(self, frame: Frame, instances: VideoInstances) -> None:
        self._frames += 1
        rows = rows_to_draw(instances, confidence=0.0, max_overlap=MAX_OVERLAP)
        for track in instances.track_ids.tolist():
            self._seen[track] = self._seen.get(track, 0) + 1
        for track in instances.track_ids[rows].tolist():
            self._shown[track] = self._shown.get(track, 0) + 1
        now = time.monotonic()
        if now - self._last_picture >= _PREVIEW_SECONDS:
            self._last_picture = now
            sure = [row for row in rows if instances.scores[row] >= self._confidence]
            self._write(draw_instances(frame.image, instances, self._class_names, rows=sure))
        if now - self._last_news >= _NEWS_SECONDS:
            self._last_news = now
            self._tell(state=RUNNING, message="", frames=self._frames)

    def covered(self) -> set[int]:
        """Tracks that lie on a surer one in most of their frames: as a rule a second track of the same object."""
        return {track for track, seen in self._seen.items() if 2 * self._shown.get(track, 0) < seen}

    def _write(self, image: Any) -> None:
        scale = min(1.0, _PREVIEW_SIDE / max(image.shape[:2]))
        if scale < 1.0:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        _, encoded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
        temporary = self._preview.with_name(f".{self._preview.name}")
        temporary.write_bytes(encoded.tobytes())
        temporary.replace(self._preview)  # not synced: the next one comes in a moment


class Watched:
    """A predictor that shows each of its frames to a :class:`Watch`."""

    def __init__(self, predictor: Predictor, watch: Watch) -> None:
        self._predictor, self.watch = predictor, watch

    def track_frames(self, *given: Any, **options: Any) -> Generator[tuple[Frame, VideoInstances], None, None]:
        with contextlib.closing(self._predictor.track_frames(*given, **options)) as tracked:
            for frame, instances in tracked:
                self.watch.look(frame, instances)
                yield frame, instances

    @property
    def result(self) -> VideoInstances:
        return self._predictor.result

    @property
    def cuts(self) -> list[int]:
        return self._predictor.cuts


class _LinesAsNews(logging.Handler):
    """The model's own lines (it compiles, it skips a frame) are shown while it runs."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(logging.INFO)
        self._worker = worker

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "mindvideo.inference":
            self._worker.tell(state=RUNNING, message=one_line(record.getMessage(), Path()))


def one_line(message: str, folder: Path) -> str:
    """The first line, without the place of the job on this machine."""
    first = next((line.strip() for line in message.splitlines() if line.strip()), "no message")
    return first.replace(f"{folder / INPUT}{os.sep}", "")[:400]


def _tasks(lines: IO[str], worker: Worker) -> Iterator[Mapping[str, Any]]:
    """Tasks in their order; a thread reads, so that a stop is heard while a video is running."""
    waiting: queue.Queue[Mapping[str, Any] | None] = queue.Queue()

    def read() -> None:
        for line in lines:
            message = json.loads(line)
            if "run" in message:
                worker.stopped[message["run"]["id"]] = threading.Event()
                waiting.put(message["run"])
            elif (stop := worker.stopped.get(message.get("stop", ""))) is not None:
                stop.set()
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    while (task := waiting.get()) is not None:
        yield task
