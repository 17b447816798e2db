"""Finished videos drawn again, from their results: another confidence, other colours of classes, no network."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from mindvideo.data.media.reader import FrameSelection
from mindvideo.data.media.sources import VideoSource, find_videos
from mindvideo.errors import UserError
from mindvideo.inference.output.results import load_results
from mindvideo.inference.output.store import RESULTS, Record, StoredVideo, VideoReport, VideoStore
from mindvideo.inference.output.video_files import OutputChoice
from mindvideo.inference.source_facts import source_facts
from mindvideo.inference.video_run import NoRoomError, draw_video
from mindvideo.structures import VideoInstances

logger = logging.getLogger("mindvideo.inference")


def redraw(
    output: Path, sources: Sequence[VideoSource], *, choice: OutputChoice, frames_per_second: float
) -> list[VideoReport]:
    """The videos that came from ``sources``, or all finished ones. Their frames must still be where they were."""
    if not output.is_dir():
        raise UserError(f"--output {output}: no such folder; --redraw needs one with finished videos")
    with VideoStore(output, settings={}) as store:
        store.start()
        chosen = [(video, record) for video in store.videos if (record := store.record_of(video)) is not None]
        given = {video.id: source for source in sources if (video := store.find(source_facts(source))) is not None}
        if sources:
            chosen = [(video, record) for video, record in chosen if video.id in given]
        if not chosen:
            raise UserError(f"{output}: none of the videos is finished there, so there is nothing to draw again")
        reports = []
        for video, record in chosen:
            try:
                reports.append(_redraw_one(store, video, record, choice, given.get(video.id), frames_per_second))
            except NoRoomError:
                raise
            except (UserError, OSError) as error:
                logger.error("%s: %s", video.name, error)
                reports.append(VideoReport(name=video.name, video_id=video.id, status="failed", problems=[str(error)]))
        return reports


def _redraw_one(
    store: VideoStore,
    video: StoredVideo,
    record: Record,
    choice: OutputChoice,
    source: VideoSource | None,
    frames_per_second: float,
) -> VideoReport:
    result = result_of(store, video, record)
    names = {int(number): name for number, name in record.class_names.items()}
    choice = dataclasses.replace(choice, class_names={**names, **choice.class_names})
    selection = FrameSelection.parse(record.settings.get("frames", ":"))
    reader = source_of(video, source).open(selection=selection, frames_per_second=frames_per_second)
    reader.name = video.name
    report = draw_video(result, reader, folder=store.folder_of(video), report=record.report, choice=choice)
    kept = dataclasses.replace(record.report, drawn=report.drawn)
    store.update(video, dataclasses.replace(record, report=kept, look=choice.facts()))
    return report


def result_of(store: VideoStore, video: StoredVideo, record: Record) -> VideoInstances:
    videos = load_results(store.folder_of(video) / RESULTS)
    if videos:
        return next(iter(videos.values()))
    return VideoInstances.nothing(video_id=video.id, size=record.size, num_frames=record.report.frames)


def source_of(video: StoredVideo, given: VideoSource | None) -> VideoSource:
    """The input the video came from; what has changed since is refused."""
    if given is not None and source_facts(given) == video.source:
        return given
    path = video.source.get("path")
    if path is None:
        raise UserError("it came from a stream, of which no frame was kept: it cannot be drawn again")
    for source in find_videos(path):
        if source_facts(source) == video.source:
            return source
    raise UserError(f"{path} is no longer what it was when the video was run; --force runs it again")
