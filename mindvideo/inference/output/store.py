"""The store of finished videos: a folder for each, their ids, and all their results as one file.

    <store>/videos.json        every video that was begun: id, name, folder, source; length and status when gathered
    <store>/<video>/results.json   the video's records
    <store>/<video>/run.json       how it went; its presence says that the video is finished

A video is in ``videos.json`` before its first frame is read, so no id is given twice, whenever the process ends. The
folders are the truth about finished videos.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mindvideo.errors import UserError
from mindvideo.files import atomic_path, write_json
from mindvideo.inference.output.folder_lock import LOCK, FolderLock
from mindvideo.inference.output.safe_names import safe_folder_name
from mindvideo.structures import VideoInstances

RESULTS, RECORD, VIDEOS = "results.json", "run.json", "videos.json"
logger = logging.getLogger("mindvideo.inference")


@dataclasses.dataclass(kw_only=True)
class VideoReport:
    """How one video went. ``status``: done, skipped, redrawn, interrupted or failed.

    ``drawn``: tracks that score enough to be drawn; ``best_score``: of all tracks, None without any.
    ``compile_seconds``: those of ``seconds`` that went into compiling graphs.
    ``cuts``: frames with which another scene began, where cuts were looked for. ``lives``: of each track, by its id,
    the first and the last frame in which it is seen.
    """

    name: str
    video_id: int | str | None = None
    status: str
    frames: int = 0
    tracks: int = 0
    drawn: int | None = None
    best_score: float | None = None
    seconds: float = 0.0
    compile_seconds: float = 0.0
    cuts: list[int] = dataclasses.field(default_factory=list)
    lives: dict[str, list[int] | None] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)

    @property
    def frames_per_second(self) -> float | None:
        """Without the time for compiling."""
        seconds = self.seconds - self.compile_seconds
        return self.frames / seconds if seconds > 0 and self.frames else None

    @property
    def went_wrong(self) -> bool:
        return self.status == "failed" or (self.status != "skipped" and bool(self.problems))


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredVideo:
    """One row of ``videos.json``. ``source``: what the video is made from, empty where the id says it all."""

    id: int | str
    name: str
    folder: str
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """The content of ``run.json``.

    ``settings``: what the results depend on; ``look``: how they are drawn; ``made_with``: for the reader.
    """

    report: VideoReport
    settings: Mapping[str, Any]
    source: Mapping[str, Any]
    look: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    track_ids: Sequence[int] = ()
    size: Sequence[int] = ()  # (H, W)
    class_names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    made_with: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class VideoStore:
    """Finished videos below ``path``, made with ``settings``.

    Nothing is written before ``start``, which also keeps other commands out of ``lock_in`` (default: ``path``).
    """

    def __init__(
        self,
        path: Path,
        *,
        settings: Mapping[str, Any],
        made_with: Mapping[str, Any] | None = None,
        lock_in: Path | None = None,
    ) -> None:
        self.path = path
        self._lock_folder = path if lock_in is None else lock_in
        self._settings = json.loads(json.dumps(settings))  # as it is read back
        self._made_with = dict(made_with or {})
        self._lock: FolderLock | None = None
        self._joined = False
        self._rows: dict[int | str, StoredVideo] = {}
        self._read_rows()

    @property
    def is_started(self) -> bool:
        return self._lock is not None

    def start_if_in_use(self) -> None:
        """Say at once that another command is at work here, where one was before; a new folder is left untouched."""
        if (self._lock_folder / LOCK).exists():
            self.start()

    def start(self) -> None:
        """Make the folder and lock it; called more than once without harm."""
        if self._lock is None:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self._lock_folder)
            for name in (VIDEOS, RESULTS):  # not those of others, which may be at work on a report
                _remove_begun_files(self.path, f".{Path(name).stem}-*.tmp*")
            self._read_rows()  # another command may have been at work until now
            for video in self.videos:  # a finished one may have been killed while it was drawn again
                _remove_begun_files(self.folder_of(video))

    def join(self) -> None:
        """Work in what another process of the same command has started, which registered every video."""
        self._joined = True
        self._read_rows()

    def close(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> VideoStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def videos(self) -> list[StoredVideo]:
        """Every video that was begun, in the order of their registration."""
        return list(self._rows.values())

    def folder_of(self, video: StoredVideo) -> Path:
        return self.path / video.folder

    def find(self, source: Mapping[str, Any]) -> StoredVideo | None:
        """The video that was registered with this source. Streams are new each time."""
        if not source.get("path"):
            return None
        key = _identity(source)
        return next((row for row in self._rows.values() if _identity(row.source) == key), None)

    def register(self, *, name: str, source: Mapping[str, Any]) -> StoredVideo:
        """The row of this source; a new one gets a number and a folder that no other video has."""
        known = self.find(source)
        if known is not None:
            if known.source != source:
                known = dataclasses.replace(known, source=dict(source))
                self._add([known])
            return known
        numbers = [row for row in self._rows if isinstance(row, int)]
        taken = {row.folder.casefold() for row in self._rows.values()}
        if self.path.is_dir():
            taken |= {entry.name.casefold() for entry in self.path.iterdir()}
        folder = safe_folder_name(name, taken=taken)
        row = StoredVideo(id=max(numbers, default=0) + 1, name=folder, folder=folder, source=dict(source))
        self._add([row])
        return row

    def register_with_ids(self, videos: Mapping[int | str, str]) -> list[StoredVideo]:
        """Rows for videos whose ids are given; ``videos``: id -> name."""
        rows, taken = [], {row.folder.casefold() for row in self._rows.values()}
        for video_id, name in videos.items():
            row = self._rows.get(video_id)
            if row is None:
                folder = safe_folder_name(str(video_id), taken=taken)
                taken.add(folder.casefold())
                row = StoredVideo(id=video_id, name=name, folder=folder)
            rows.append(row)
        self._add([row for row in rows if row.id not in self._rows])
        return rows

    def _add(self, rows: Sequence[StoredVideo]) -> None:
        if rows:
            self._require_start()
            self._rows.update({row.id: row for row in rows})
            self._write_rows({})

    def record_of(self, video: StoredVideo) -> Record | None:
        """The record of a finished video; None for one that is not, or whose record cannot be read."""
        folder = self.folder_of(video)
        if not (folder / RECORD).is_file() or not (folder / RESULTS).is_file():
            return None
        try:
            content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            report = VideoReport(**content.pop("report"))
            return Record(report=report, **content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            logger.warning("%s: not readable (%s); the video counts as unfinished", folder / RECORD, error)
            return None

    def finished(self, video: StoredVideo, source: Mapping[str, Any] | None = None) -> Record | None:
        """The record of a video that is finished, and made from ``source`` as it is now.

        UserError where it was made with other settings: its results would be mixed with those of this run.
        """
        record = self.record_of(video)
        if record is None:
            return None
        if source is not None and record.source != source:
            logger.warning("%s: the input has changed since it was run; it is run again", video.name)
            return None
        changed = [name for name, value in self._settings.items() if record.settings.get(name) != value]
        if changed:
            name = changed[0]
            raise UserError(
                f"{self.folder_of(video)} was run with other settings ({name}: {record.settings.get(name)!r} then, "
                f"{self._settings[name]!r} now); name another --output, or run it again with --force"
            )
        return record

    def require_same_settings(self) -> None:
        """UserError if a finished video was made with other settings."""
        for video in self.videos:
            self.finished(video)

    def begin(self, video: StoredVideo) -> None:
        """The video is about to be run (again): from now on it is unfinished."""
        self._require_start()
        folder = self.folder_of(video)
        (folder / RECORD).unlink(missing_ok=True)
        _remove_begun_files(folder)

    def finish(
        self,
        video: StoredVideo,
        report: VideoReport,
        result: VideoInstances,
        *,
        source: Mapping[str, Any] | None = None,
        look: Mapping[str, Any] | None = None,
        class_names: Mapping[int, str] | None = None,
    ) -> None:
        """Write ``run.json``; the results are there already."""
        self._require_start()
        record = Record(
            report=report,
            settings=self._settings,
            source=dict(source or {}),
            look=dict(look or {}),
            track_ids=result.track_ids.tolist(),
            size=list(result.size),
            class_names={str(number): name for number, name in (class_names or {}).items()},
            made_with=self._made_with,
        )
        write_json(self.folder_of(video) / RECORD, dataclasses.asdict(record))

    def update(self, video: StoredVideo, record: Record) -> None:
        """Replace the record of a finished video that was drawn again."""
        self._require_start()
        write_json(self.folder_of(video) / RECORD, dataclasses.asdict(record))

    def save_results(self, video: StoredVideo, result: VideoInstances) -> None:
        write_json(self.folder_of(video) / RESULTS, result.to_results(), indent=None)

    def gather(self, path: Path | None = None, videos: Sequence[StoredVideo] | None = None) -> None:
        """All records of finished videos as one file (default: the store's ``results.json``), as the folders have them.

        Videos that were finished with other settings are left out, and said so.
        """
        self._require_start()
        records = {row.id: record for row in self.videos if (record := self.record_of(row)) is not None}
        chosen = self.videos if videos is None else videos
        same = [row for row in chosen if row.id in records and records[row.id].settings == self._settings]
        if others := [row.name for row in chosen if row.id in records and row not in same]:
            logger.warning(
                "%s: of other settings or weights, left out of %s: %s", self.path, RESULTS, ", ".join(others[:5])
            )
        target = self.path / RESULTS if path is None else path
        with atomic_path(target) as temporary, open(temporary, "w", encoding="utf-8") as stream:
            stream.write("[")
            separator = "\n"
            for row in same:
                content = (self.folder_of(row) / RESULTS).read_text(encoding="utf-8").strip()[1:-1]
                if content:
                    stream.write(separator + content)
                    separator = ",\n"
            stream.write("\n]\n")
        self._write_rows(records)

    def _require_start(self) -> None:
        if self._lock is None and not self._joined:
            raise RuntimeError(f"{self.path}: start() comes before anything is written")

    def _read_rows(self) -> None:
        """``videos.json``; and videos whose folders are there though it does not list them."""
        rows: dict[int | str, StoredVideo] = {}
        for row in _listed_rows(self.path / VIDEOS):
            rows[row.id] = row
        folders = {row.folder for row in rows.values()}
        for record in sorted(self.path.glob(f"*/{RECORD}")):
            if record.parent.name not in folders and (found := _row_of_record(record)) is not None:
                rows.setdefault(found.id, found)
        self._rows = rows

    def _write_rows(self, records: Mapping[int | str, Record]) -> None:
        listed = []
        for row in self.videos:
            record = records.get(row.id)
            status = {} if record is None else {"status": "done", "length": record.report.frames}
            listed.append({"id": row.id, "name": row.name, "folder": row.folder, **status, "source": row.source})
        write_json(self.path / VIDEOS, listed)


def _remove_begun_files(folder: Path, pattern: str = ".*.tmp*") -> None:
    """Temporary files and folders that a killed run was writing."""
    for begun in folder.glob(pattern):
        if begun.is_dir():
            shutil.rmtree(begun, ignore_errors=True)
        else:
            begun.unlink()


def _identity(source: Mapping[str, Any]) -> tuple:
    return source.get("path"), source.get("names")


def _listed_rows(path: Path) -> Iterator[StoredVideo]:
    if not path.is_file():
        return
    try:
        for entry in json.loads(path.read_text(encoding="utf-8")):
            yield StoredVideo(
                id=entry["id"],
                name=entry["name"],
                folder=entry.get("folder", entry["name"]),
                source=entry.get("source", {}),
            )
    except (ValueError, TypeError, KeyError) as error:
        logger.warning("%s: not readable (%s); the videos are known by their folders", path, error)


def _row_of_record(path: Path) -> StoredVideo | None:
    with contextlib.suppress(ValueError, TypeError, KeyError):
        content = json.loads(path.read_text(encoding="utf-8"))
        report = content["report"]
        source = content.get("source", {})
        return StoredVideo(id=report["video_id"], name=report["name"], folder=path.parent.name, source=source)
    return None
