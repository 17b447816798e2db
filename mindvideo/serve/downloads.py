"""Files about a finished video as its visitor sees it: without what is hidden, with the names and colours given."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import threading
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mindvideo.data.exporters.cvat import cvat_xml
from mindvideo.data.exporters.formats import TOLERANCE
from mindvideo.data.exporters.objects_csv import objects_csv
from mindvideo.data.exporters.tracked_video import TrackedVideo
from mindvideo.errors import UserError
from mindvideo.files import atomic_path, json_text, write_json, write_text
from mindvideo.inference.output.mask_pictures import LEGEND, write_legend, write_mask_picture
from mindvideo.inference.output.results import load_results
from mindvideo.inference.output.store import VideoReport
from mindvideo.inference.output.tool_files import tracked_video
from mindvideo.inference.output.video_files import FRAMES, OVERLAY, OutputChoice
from mindvideo.inference.trackers.tracker import frame_of
from mindvideo.inference.video_run import draw_video
from mindvideo.serve.job_input import only_video
from mindvideo.serve.jobs import DOWNLOADS, EDITS, INPUT, RESULT, TRACKS
from mindvideo.serve.tracks import Edits, read_edits
from mindvideo.structures import VideoInstances

VIDEO_FOLDER = "video"  # of a job's result
MAX_KEPT = 4  # versions of a job's files
_AT_WORK = threading.Lock()  # one at a time, whoever asks: drawing takes a whole processor


@dataclasses.dataclass(frozen=True)
class Finished:
    """A finished video with its edits."""

    folder: Path  # of the job
    result: VideoInstances  # the shown tracks only
    tracks: Mapping[int, Mapping[str, Any]]  # rows of tracks.json by id
    edits: Edits

    def name(self, track: int) -> str:
        return self.edits.names.get(track) or self.tracks[track]["class"]


def prepare(folder: Path, kind: str, *, confidence: float) -> Path:
    """The file of this kind as the edits are now; it is kept for the next who asks."""
    if kind not in KINDS:
        raise UserError(f"no download '{kind[:20]}'; there are {', '.join(KINDS)}")
    name, write = KINDS[kind]
    edits = read_edits(folder / EDITS, confidence=confidence)
    version = hashlib.sha256(json_text(edits.as_json()).encode()).hexdigest()[:16]
    path = folder / DOWNLOADS / version / name
    with _AT_WORK:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            _forget_old_versions(path.parent)
            write(read_finished(folder, edits), path)
    return path


def read_finished(folder: Path, edits: Edits) -> Finished:
    facts = json.loads((folder / TRACKS).read_text(encoding="utf-8"))
    tracks = {track["id"]: track for track in facts["tracks"]}
    videos = load_results(folder / RESULT / VIDEO_FOLDER)
    size = (facts["height"], facts["width"])
    result = VideoInstances.nothing(video_id=1, size=size, num_frames=facts["frames"])
    if videos:
        result = next(iter(videos.values()))
        ids = result.track_ids.tolist()
        rows = [row for row, track in enumerate(ids) if track in tracks and edits.shown(tracks[track])]
        result = dataclasses.replace(
            result,
            scores=result.scores[rows],
            labels=result.labels[rows],
            track_ids=result.track_ids[rows],
            segmentations=[result.segmentations[row] for row in rows],
        )
    return Finished(folder, result, tracks, edits)


def write_video(finished: Finished, path: Path) -> None:
    """The overlay, drawn from the frames that were sent."""
    drawn = path.with_name(f".{path.stem}.drawing")
    shutil.rmtree(drawn, ignore_errors=True)
    names = {label: finished.tracks[track]["class"] for label, track in _labels(finished.result).items()}
    choice = OutputChoice(
        write=("video",), confidence=0.0, max_overlap=1.0, class_names=names, look=finished.edits.look()
    )
    report = VideoReport(name=path.stem, status="done", cuts=_cuts(finished))
    try:
        reader = only_video(finished.folder / INPUT).open()
        draw_video(finished.result, reader, folder=drawn, report=report, choice=choice)
        (drawn / OVERLAY).replace(path)
    finally:
        shutil.rmtree(drawn, ignore_errors=True)


def write_results(finished: Finished, path: Path) -> None:
    """Records of a YouTube-VIS ``results.json``, with the id, name, class and colour of each track beside."""
    records = []
    for record, track in zip(finished.result.to_results(), finished.result.track_ids.tolist()):
        facts = finished.tracks[track]
        color = finished.edits.colors.get(track, facts["color"])
        records.append(
            {**record, "track_id": track, "name": finished.name(track), "class": facts["class"], "color": color}
        )
    write_json(path, records, indent=None)


def write_masks(finished: Finished, path: Path) -> None:
    """A zip of indexed PNG pictures, one a frame, and of the file that says which pixel value is which track."""
    result, look = finished.result, finished.edits.look()
    picture = path.with_name(f".{path.stem}.png")
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        try:
            for place in range(result.num_frames):
                instances = frame_of(result, place)
                rows = np.argsort(instances.scores, kind="stable").tolist()
                write_mask_picture(picture, instances, rows, look)
                archive.write(picture, f"{place:06d}.png")
        finally:
            picture.unlink(missing_ok=True)
        names = {label: finished.tracks[track]["class"] for label, track in _labels(result).items()}
        write_legend(path.parent, result, names, set(result.track_ids.tolist()))
        legend = json.loads((path.parent / LEGEND).read_text(encoding="utf-8"))
        (path.parent / LEGEND).unlink()
        for entry in legend["tracks"]:
            entry["name"] = finished.name(entry["track_id"])
        archive.writestr(LEGEND, json_text(legend))


def write_table(finished: Finished, path: Path) -> None:
    """A row for each mask, as ``inference.write=[csv]`` has them, with the names given in place of the classes."""
    write_text(path, objects_csv([_named_video(finished)]))


def write_cvat(finished: Finished, path: Path) -> None:
    """Tracks to correct in CVAT. Labels are the names given."""
    video = _named_video(finished)
    numbers = {name: number for number, name in enumerate(sorted({track.category for track in video.tracks}), start=1)}
    labelled = [dataclasses.replace(track, category_id=numbers[track.category]) for track in video.tracks]
    write_text(path, cvat_xml(dataclasses.replace(video, tracks=labelled), tolerance=TOLERANCE))


def _named_video(finished: Finished) -> TrackedVideo:
    """The shown tracks; each category is called as its track."""
    lines = (finished.folder / RESULT / VIDEO_FOLDER / FRAMES).read_text(encoding="utf-8").splitlines()
    frames = [(line["frame"], line["file_name"]) for line in map(json.loads, lines)]
    rate = json.loads((finished.folder / TRACKS).read_text(encoding="utf-8"))["rate"]
    video = tracked_video(finished.result, frames, {}, name=VIDEO_FOLDER, frames_per_second=rate)
    named = [dataclasses.replace(track, category=finished.name(track.id)) for track in video.tracks]
    return dataclasses.replace(video, tracks=named)


KINDS: dict[str, tuple[str, Callable[[Finished, Path], None]]] = {
    "video": ("overlay.mp4", write_video),
    "json": ("results.json", write_results),
    "masks": ("masks.zip", write_masks),
    "csv": ("objects.csv", write_table),
    "cvat": ("cvat.xml", write_cvat),
}


def _labels(result: VideoInstances) -> dict[int, int]:
    """A track for each label."""
    return dict(zip(result.labels.tolist(), result.track_ids.tolist()))


def _cuts(finished: Finished) -> list[int]:
    return json.loads((finished.folder / TRACKS).read_text(encoding="utf-8"))["cuts"]


def _forget_old_versions(current: Path) -> None:
    others = [folder for folder in current.parent.iterdir() if folder != current]
    others.sort(key=lambda folder: folder.stat().st_mtime_ns)
    for folder in others[: max(0, len(others) - MAX_KEPT + 1)]:
        shutil.rmtree(folder, ignore_errors=True)
