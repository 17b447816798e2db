"""Files that visitors send: bounded, under names of ours, inside the folder, and gone when nothing becomes of them."""

from __future__ import annotations

import dataclasses
import secrets
import shutil
import threading
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from mindvideo.data.media.images import IMAGE_SUFFIXES, natural_key
from mindvideo.data.media.sources import VIDEO_SUFFIXES
from mindvideo.errors import UserError
from mindvideo.serve.limits import Limits, megabytes

UPLOADS = "uploads"
ZIP = ".zip"
MAX_OPEN = 20  # uploads that are begun and have not become a job
_CHUNK = 1 << 20
_MAX_NAME = 120


class Body(Protocol):
    """The part of a request that is still to come."""

    def read(self, size: int, /) -> bytes: ...


@dataclasses.dataclass
class Upload:
    """Files that have arrived: for each file its name as the visitor has it, and its place on disk."""

    folder: Path
    files: list[tuple[str, Path]] = dataclasses.field(default_factory=list)
    size: int = 0


class Uploads:
    """Uploads on their way. Those of an earlier server are removed."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits = folder / UPLOADS, limits
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._lock, self._room = threading.Lock(), threading.Lock()
        self._open: dict[str, Upload] = {}

    def begin(self) -> str:
        """The id of a new upload. Where there are too many, the oldest is given up."""
        upload_id = secrets.token_hex(8)
        folder = self._folder / upload_id
        folder.mkdir()
        with self._lock:
            self._open[upload_id] = Upload(folder)
            surplus = list(self._open)[: max(0, len(self._open) - MAX_OPEN)]
        for old in surplus:
            self.abandon(old)
        return upload_id

    def check(self, upload_id: str, name: str, length: int) -> None:
        """UserError for a file that would not be taken; asked before any of it is read."""
        upload = self._get(upload_id)
        suffix = PurePosixPath(shown_name(name)).suffix.lower()
        if suffix not in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES, ZIP):
            raise UserError(
                f"{shown_name(name)}: not known as a video, a picture or a zip of pictures; known are "
                f"{' '.join((*VIDEO_SUFFIXES, *IMAGE_SUFFIXES, ZIP))}"
            )
        if length == 0:
            raise UserError(f"{shown_name(name)}: the file is empty (0 bytes)")
        if len(upload.files) >= self._limits.files:
            raise UserError(f"more than {self._limits.files} files; at most so many make a video")
        self._limits.check_size(upload.size + length, self._folder)

    def receive(self, upload_id: str, name: str, length: int, stream: Body) -> None:
        """Take ``length`` bytes as the next file; a file that is cut off leaves nothing."""
        upload = self._get(upload_id)
        with self._room:  # two at once must not both take the last of it
            self.check(upload_id, name, length)
            upload.size += length
        path = upload.folder / f"{secrets.token_hex(8)}{PurePosixPath(shown_name(name)).suffix.lower()}"
        try:
            with open(path, "wb") as file:
                left = length
                while left:
                    chunk = stream.read(min(_CHUNK, left))
                    if not chunk:
                        raise UserError(f"{shown_name(name)}: cut off after {megabytes(length - left)}")
                    file.write(chunk)
                    left -= len(chunk)
        except BaseException:
            path.unlink(missing_ok=True)
            with self._room:
                upload.size -= length
            raise
        with self._lock:
            upload.files.append((name, path))

    def take(self, upload_id: str) -> tuple[str, Path]:
        """The name of the video and a folder with it: one video file, or pictures that are called by their order.

        The upload is gone, whatever comes of it.
        """
        with self._lock:
            upload = self._open.pop(upload_id, None)
        if upload is None:
            raise UserError("this upload is not known (any more): send the video again")
        try:
            return arranged(upload, self._limits)
        except BaseException:
            shutil.rmtree(upload.folder, ignore_errors=True)
            raise

    def abandon(self, upload_id: str) -> None:
        with self._lock:
            upload = self._open.pop(upload_id, None)
        if upload is not None:
            shutil.rmtree(upload.folder, ignore_errors=True)

    def _get(self, upload_id: str) -> Upload:
        with self._lock:
            if upload_id not in self._open:
                raise UserError("this upload is not known (any more): send the video again")
            return self._open[upload_id]


def arranged(upload: Upload, limits: Limits) -> tuple[str, Path]:
    """The upload's folder with one file ``video.<suffix>``, or with ``frames/000000.png`` and so on."""
    if not upload.files:
        raise UserError("no file has arrived")
    given = upload.files
    name = shown_name(given[0][0])
    if len(given) > 1:
        folder = PurePosixPath(given[0][0].replace("\\", "/")).parent.name
        name = shown_name(folder) if folder else f"{name} and {len(given) - 1} more"
    elif given[0][1].suffix == ZIP:
        archive = given[0][1]
        given = unpacked(archive, upload.folder, limits, room=limits.upload_bytes)
        archive.unlink()
    videos = [path for _, path in given if path.suffix in VIDEO_SUFFIXES]
    pictures = [(as_given, path) for as_given, path in given if path.suffix in IMAGE_SUFFIXES]
    if len(videos) == 1 and not pictures:
        videos[0].replace(upload.folder / f"video{videos[0].suffix}")
        return name, upload.folder
    if videos or len(pictures) != len(given):
        raise UserError("give one video file, or pictures only, or one zip of pictures or of one video")
    if len(pictures) == 1:  # which may hold several: an animated GIF
        path = pictures[0][1]
        path.replace(upload.folder / f"video{path.suffix}")
        return name, upload.folder
    frames = upload.folder / "frames"
    frames.mkdir()
    for place, (_, path) in enumerate(sorted(pictures, key=lambda item: natural_key(item[0]))):
        path.replace(frames / f"{place:06d}{path.suffix}")
    return name, upload.folder


def unpacked(archive: Path, folder: Path, limits: Limits, *, room: int) -> list[tuple[str, Path]]:
    """The pictures and videos of a zip, each with its name in there; nothing else of it is written."""
    found: list[tuple[str, Path]] = []
    try:
        with zipfile.ZipFile(archive) as content:
            entries = _entries_to_take(content, limits)
            for place, entry in enumerate(entries):
                suffix = PurePosixPath(entry.filename).suffix.lower()
                path = folder / f"unpacked-{place:06d}{suffix}"
                found.append((entry.filename, path))
                with content.open(entry) as source, open(path, "wb") as target:
                    while chunk := source.read(_CHUNK):
                        room -= len(chunk)
                        if room < 0:
                            raise UserError(f"the zip holds more than {megabytes(limits.upload_bytes)} when unpacked")
                        target.write(chunk)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError, ValueError) as error:
        raise UserError(f"the zip cannot be read ({' '.join(str(error).split())[:200]})") from error
    return found


def _entries_to_take(content: zipfile.ZipFile, limits: Limits) -> Sequence[zipfile.ZipInfo]:
    entries = []
    for entry in content.infolist():
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts if part not in (".", ".."))
        if not entry.is_dir() and not hidden and path.suffix.lower() in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES):
            entries.append(entry)
    if not entries:
        raise UserError("there is no picture and no video in the zip")
    if len(entries) > limits.files:
        raise UserError(f"{len(entries)} pictures in the zip; at most {limits.files} make a video")
    total = sum(entry.file_size for entry in entries)
    if total > limits.upload_bytes:
        raise UserError(f"the zip holds {megabytes(total)}; at most {megabytes(limits.upload_bytes)} are taken")
    return entries


def shown_name(given: str) -> str:
    """The last part of a visitor's file name without control characters; for showing, never for opening."""
    last = given.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    plain = "".join(letter for letter in last if letter.isprintable()).strip()
    return plain[:_MAX_NAME] if plain not in ("", ".", "..") else "video"
