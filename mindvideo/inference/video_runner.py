"""Videos one after the other into a store."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable, Sequence

from mindvideo.data.media.reader import VideoReader
from mindvideo.data.media.sources import VideoSource
from mindvideo.errors import UserError
from mindvideo.inference.output.sharing import VideoSharing
from mindvideo.inference.output.store import StoredVideo, VideoReport, VideoStore
from mindvideo.inference.output.video_files import OutputChoice
from mindvideo.inference.predictor import Predictor
from mindvideo.inference.source_facts import source_facts
from mindvideo.inference.trackers.tracker import MAX_ENDED_TRACKS
from mindvideo.inference.video_run import NoRoomError, draw_video, run_video, without_room
from mindvideo.structures import VideoInstances

logger = logging.getLogger("mindvideo.inference")


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
                reported = without_room(error, self.store.path)
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
                    if stop.is_set():  # this video is whole, and no other one is begun
                        return dataclasses.replace(report, status="interrupted")
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
