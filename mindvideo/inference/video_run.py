"""One video from reader to files, and many of them one after the other into a store."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from mindvideo.data.media.reader import VideoReader
from mindvideo.data.media.sources import VideoSource
from mindvideo.errors import UserError
from mindvideo.files import NO_ROOM
from mindvideo.inference.compile_notice import compiling_seconds
from mindvideo.inference.output.sharing import VideoSharing
from mindvideo.inference.output.store import StoredVideo, VideoReport, VideoStore
from mindvideo.inference.output.video_files import OutputChoice, VideoFiles
from mindvideo.inference.pipeline import WriteAfter
from mindvideo.inference.predictor import Predictor
from mindvideo.inference.source_facts import source_facts
from mindvideo.inference.trackers.tracker import MAX_ENDED_TRACKS, frame_of
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
        raise _without_room(error, files.folder) from error
    except BaseException:
        files.abandon()
        raise


def _without_room(error: Exception, folder: Path) -> Exception:
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return NoRoomError(
            f"{folder}: no room to write ({error.strerror}); free some space or give another --output. "
            "Finished videos stay, this one is to be run again"
        )
    return error


class VideoRunner:
    """Runs videos one after the other into a store.

    What goes wrong with one video is reported as its problem, and the next one is run. ``make_predictor`` is called
    when the first video is really to be run and can be opened; what goes wrong there ends the run, since it would go
    wrong for every video. ``on_start`` is called once after it, before anything is written. ``redraw_frames``: videos
    of at most so many frames are drawn once more when they are finished, see ``_draw_with_hindsight``.
    """

    def __init__(
        self,
        *,
        store: VideoStore,
        make_predictor: Callable[[], Predictor],
        on_start: Callable[[], None],
        open_source: Callable[[VideoSource], VideoReader],
        choice: OutputChoice,
        interruption: Callable[[], contextlib.AbstractContextManager[threading.Event]],
        queue_depth: int = 8,
        redraw_frames: int = 0,
        sharing: VideoSharing | None = None,
    ) -> None:
        self.store = store
        self.sharing = sharing or VideoSharing.single()
        self._make_predictor, self._on_start, self._open_source = make_predictor, on_start, open_source
        self._choice, self._interruption, self._queue_depth = choice, interruption, queue_depth
        self._redraw_frames = redraw_frames
        self._predictor: Predictor | None = None
        self.has_begun = False  # some video was begun: the store's results have changed

    def run_all(self, sources: Sequence[VideoSource], *, force: bool) -> list[VideoReport]:
        """Reports in the order of the sources, up to an interruption."""
        if self.sharing.world_size > 1:
            return self._run_shared(sources, force=force)
        self.store.start_if_in_use()
        finished = {} if force else self._finished(sources)
        reports: list[VideoReport] = []
        for place, source in enumerate(sources):
            report = finished[place] if place in finished else self._run(source, only=len(sources) == 1)
            reports.append(report)
            if report.status == "interrupted":
                break
        return reports

    def _run_shared(self, sources: Sequence[VideoSource], *, force: bool) -> list[VideoReport]:
        """The share of this process; the first one gets all reports.

        It has registered every video before, in the order in which one process does, so that ids are the same.
        """
        endless = next((source.name for source in sources if source.is_endless), None)
        if endless is not None:
            raise UserError(f"{endless}: a camera or a stream is one process's; leave the others out")
        if self.sharing.is_first:
            self.store.start()
            if not force:
                self.store.require_same_settings()
        self._get_predictor()
        if self.sharing.is_first:
            self._register_all(sources)
            self.has_begun = True
        with self.sharing.working():
            if not self.sharing.is_first:
                self.store.join()
            reports = self._run_claimed(sources, finished={} if force else self._finished(sources))
            self.sharing.wait_for_others()
            if self.sharing.is_first:
                told = {place: self.sharing.told(f"report-{place}") for place in range(len(sources))}
                reports |= {place: VideoReport(**content) for place, content in told.items() if content is not None}
                self.store.gather()
                self.sharing.done()
        return [reports[place] for place in sorted(reports)]

    def _run_claimed(self, sources: Sequence[VideoSource], finished: dict[int, VideoReport]) -> dict[int, VideoReport]:
        reports = dict(finished)
        for place, source in enumerate(sources):
            if place in finished or not self.sharing.claim(place):
                continue
            reports[place] = self._run(source, only=False)
            self.sharing.tell(f"report-{place}", dataclasses.asdict(reports[place]))
            if reports[place].status == "interrupted":
                break
        return reports

    def _register_all(self, sources: Sequence[VideoSource]) -> None:
        for source in sources:
            with contextlib.suppress(UserError, OSError):  # it gets its line when its turn comes
                facts = source_facts(source)
                self._open_source(source).close()
                self.store.register(name=source.name, source=facts)

    def _finished(self, sources: Sequence[VideoSource]) -> dict[int, VideoReport]:
        """Reports of what an earlier run has finished, by the place of the source."""
        reports = {}
        for place, source in enumerate(sources):
            with contextlib.suppress(OSError):  # a source that is not there gets its line when its turn comes
                facts = source_facts(source)
                video = self.store.find(facts)
                record = None if video is None else self.store.finished(video, facts)
                if record is not None:
                    reports[place] = dataclasses.replace(record.report, status="skipped")
                    if record.look != self._choice.facts():
                        logger.warning(
                            "%s: finished earlier and drawn otherwise; --redraw draws it again", record.report.name
                        )
        return reports

    def _run(self, source: VideoSource, *, only: bool) -> VideoReport:
        """``only``: there is no other video; that it cannot even be opened is then a mistake in the command."""
        video: StoredVideo | None = None
        try:
            facts = source_facts(source)
            reader = self._open_source(source)
        except (UserError, OSError) as error:
            if only and isinstance(error, UserError):
                raise
            return self._failed(source, None, error)
        with reader:
            predictor = self._get_predictor()
            try:
                video = self.store.register(name=source.name, source=facts)
                return self._run_registered(video, reader, predictor, source)
            except Exception as error:  # noqa: BLE001  it is reported, and the next video is run
                reported = _without_room(error, self.store.path)
                if isinstance(reported, NoRoomError):
                    raise reported from error
                return self._failed(source, video, error)

    def _run_registered(
        self, video: StoredVideo, reader: VideoReader, predictor: Predictor, source: VideoSource
    ) -> VideoReport:
        self.store.begin(video)
        self.has_begun = True
        reader.name = video.name
        choice = dataclasses.replace(self._choice, class_names=predictor.class_names)
        with self._interruption() as stop:
            try:
                report, result = run_video(
                    predictor,
                    reader,
                    folder=self.store.folder_of(video),
                    video_id=video.id,
                    choice=choice,
                    stop=stop,
                    endless=source.is_endless,
                    queue_depth=self._queue_depth,
                )
            except UserError as error:
                if not stop.is_set():
                    raise
                return VideoReport(name=video.name, video_id=video.id, status="interrupted", problems=[str(error)])
            if report.status == "done":
                self._finish(video, report, result, choice)
                if not source.is_endless and self._is_worth_redrawing(choice, result):
                    report = self._draw_with_hindsight(video, source, report, result, choice, stop)
                    self._finish(video, report, result, choice)
        if report.tracks and report.status == "done" and not report.drawn:
            logger.warning(
                "%s: none of its %d tracks scores %g (the best %.2f), so none is drawn; --redraw with a lower "
                "inference.confidence shows them", video.name, report.tracks, choice.confidence, report.best_score,
            )  # fmt: skip
        return report

    def _finish(self, video: StoredVideo, report: VideoReport, result: VideoInstances, choice: OutputChoice) -> None:
        self.store.finish(
            video, report, result, source=video.source, look=choice.facts(), class_names=choice.class_names
        )

    def _is_worth_redrawing(self, choice: OutputChoice, result: VideoInstances) -> bool:
        """Something is drawn, and the result still has every frame and every track."""
        drawn = set(choice.write) - {"frames"}
        return bool(drawn) and result.num_frames <= self._redraw_frames and len(result) < MAX_ENDED_TRACKS

    def _draw_with_hindsight(
        self,
        video: StoredVideo,
        source: VideoSource,
        report: VideoReport,
        result: VideoInstances,
        choice: OutputChoice,
        stop: threading.Event,
    ) -> VideoReport:
        """The same files with the categories and scores of the whole video in every frame, from a track's first one on.

        While the network ran, a frame was drawn with what was known by then. Where this does not come to its end, that
        drawing stays: the video is finished already.
        """
        again = dataclasses.replace(choice, write=tuple(name for name in choice.write if name != "frames"))
        try:
            reader = self._open_source(source)
            reader.name = video.name
            drawn = draw_video(
                result, reader, folder=self.store.folder_of(video), report=report, choice=again, stop=stop
            )
        except NoRoomError:
            raise
        except (UserError, OSError) as error:
            logger.warning("%s; its drawings show what was known frame by frame", error)
            return report
        return dataclasses.replace(report, drawn=drawn.drawn, seconds=report.seconds + drawn.seconds)

    def _get_predictor(self) -> Predictor:
        if self._predictor is None:
            self._predictor = self._make_predictor()
            if self.sharing.is_first:
                self.store.start()
                self._on_start()
        return self._predictor

    def _failed(self, source: VideoSource, video: StoredVideo | None, error: Exception) -> VideoReport:
        """One line for the user, the traceback of anything unexpected for the log."""
        line = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}".split("\n", 1)[0]
        name = source.name if video is None else video.name
        logger.error("%s", line if name in line else f"{name}: {line}")
        if not isinstance(error, (UserError, OSError)):
            logger.debug("%s: unexpected", name, exc_info=error)
        video_id = None if video is None else video.id
        return VideoReport(name=name, video_id=video_id, status="failed", problems=[line])
