"""Result files of the YouTube-VIS layout from any source, read one video at a time; and what can be wrong with them."""

from __future__ import annotations

import gzip
import json
import math
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from mindvideo.errors import UserError
from mindvideo.evaluation.ground_truth import LabelledVideo
from mindvideo.masks.forms import Tube, tube_of

VideoId = int | str
Record = dict[str, Any]  # video_id, category_id, score, segmentations
KEYS = ("video_id", "category_id", "score", "segmentations")
_CHUNK = 1 << 20


class Results(Protocol):
    """Where the evaluation takes the records of one video from."""

    def video_ids(self) -> Sequence[VideoId]: ...

    def records(self, video_id: VideoId) -> list[Record]:
        """The records of a video in the order of the file; none when it has no detections."""


class ResultsInMemory:
    """Records that are already there."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records: dict[VideoId, list[Record]] = {}
        for number, record in enumerate(records):
            _require_keys(record, number)
            self._records.setdefault(record["video_id"], []).append(record)

    def video_ids(self) -> Sequence[VideoId]:
        return list(self._records)

    def records(self, video_id: VideoId) -> list[Record]:
        return self._records.get(video_id, [])


class ResultsFolder:
    """One file with a list of records for each video, as a run over a labelled set leaves it."""

    def __init__(self, files: Mapping[VideoId, Path]) -> None:
        self._files = files

    def video_ids(self) -> Sequence[VideoId]:
        return list(self._files)

    def records(self, video_id: VideoId) -> list[Record]:
        return json.loads(self._files[video_id].read_text(encoding="utf-8"))


class ResultsFile:
    """``results.json``, or the same in a ``.gz`` or in the ``.zip`` that servers take.

    The first reading keeps only where the records of each video are; ``records`` reads those again. So memory holds
    the masks of one video, however long the file is.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._stream = _open_plain(self.path)
        self._places: dict[VideoId, list[tuple[int, int]]] = {}
        for number, (record, begin, end) in enumerate(_scan(self._stream, str(path))):
            _require_keys(record, number)
            video_id = record["video_id"]
            if isinstance(video_id, str):
                video_id = video_id.encode("latin-1").decode("utf-8")
            self._places.setdefault(video_id, []).append((begin, end))

    def __len__(self) -> int:
        return sum(map(len, self._places.values()))

    def video_ids(self) -> Sequence[VideoId]:
        return list(self._places)

    def records(self, video_id: VideoId) -> list[Record]:
        records = []
        for begin, end in self._places.get(video_id, ()):
            self._stream.seek(begin)
            records.append(json.loads(self._stream.read(end - begin)))
        return records


def _open_plain(path: Path) -> BinaryIO:
    """The JSON itself, unpacked to a temporary file where need be."""
    try:
        if path.suffix == ".gz":
            packed: Any = gzip.open(path, "rb")
        elif path.suffix == ".zip":
            archive = zipfile.ZipFile(path)
            packed = archive.open("results.json")
        else:
            return open(path, "rb")  # noqa: SIM115  (kept open for the records)
        plain = tempfile.TemporaryFile()  # noqa: SIM115
        with packed:
            shutil.copyfileobj(packed, plain)
        plain.seek(0)
        return plain
    except FileNotFoundError as error:
        raise UserError(f"no result file {path}") from error
    except (zipfile.BadZipFile, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: not readable as {path.suffix} ({error})") from error
    except KeyError as error:
        raise UserError(f"{path}: the archive holds no results.json") from error


def _scan(stream: BinaryIO, source: str) -> Iterator[tuple[Any, int, int]]:
    """Each element of the list in ``stream`` with its place in bytes. Bytes are read as Latin-1: places stay exact."""
    decoder = json.JSONDecoder()
    buffer, offset = "", 0  # offset: place of the buffer's start in the file

    def more(size: int) -> bool:
        nonlocal buffer
        chunk = stream.read(size).decode("latin-1")
        buffer += chunk
        return bool(chunk)

    more(_CHUNK)
    buffer = buffer.removeprefix("\u00ef\u00bb\u00bf")  # a byte order mark
    offset = stream.tell() - len(buffer)
    start = len(buffer) - len(buffer.lstrip())
    if buffer[start : start + 1] != "[":
        hint = (
            "it is an annotation file, give it as --annotations" if '"videos"' in buffer else "it does not begin with ["
        )
        raise UserError(f"{source}: not a result file, which is a list of records; {hint}")
    position = start + 1
    while True:
        while position < len(buffer) and buffer[position] in " \t\r\n,":
            position += 1
        if position == len(buffer):
            offset, buffer, position = offset + position, "", 0
            if not more(_CHUNK):
                raise UserError(f"{source}: the file ends before its list does (cut off while it was written?)")
            continue
        if buffer[position] == "]":
            return
        try:
            record, end = decoder.raw_decode(buffer, position)
        except json.JSONDecodeError as error:
            offset, buffer, position = offset + position, buffer[position:], 0
            if more(max(_CHUNK, len(buffer))):  # the record may go on behind the buffer
                continue
            raise UserError(f"{source}: not valid JSON near byte {offset} ({error.msg})") from error
        yield record, offset + position, offset + end
        position = end
        if position > _CHUNK:
            offset, buffer, position = offset + position, buffer[position:], 0


def _require_keys(record: Any, number: int) -> None:
    if not isinstance(record, dict):
        raise UserError(f"record {number}: expected an object with {', '.join(KEYS)}, got {type(record).__name__}")
    missing = [key for key in KEYS if key not in record]
    if missing:
        raise UserError(f"record {number}: no '{missing[0]}'; a record has {', '.join(KEYS)}")


def checked_tubes(video: LabelledVideo, records: Sequence[Record]) -> list[Tube]:
    """The masks of a video's records; a fault is a UserError that names video, track and frame."""
    tubes = []
    for track, record in enumerate(records):
        try:
            tubes.append(_checked_tube(video, record))
        except ValueError as error:
            raise UserError(f"{name_of_track(video, track)}, {error}") from error
    return tubes


def name_of_track(video: LabelledVideo, track: int) -> str:
    return f"video {video.id}, track {track} (the video's records counted from 0)"


def _checked_tube(video: LabelledVideo, record: Record) -> Tube:
    score, segmentations = record["score"], record["segmentations"]
    if isinstance(score, bool) or not isinstance(score, (int, float)) or not math.isfinite(score):
        raise ValueError(f"score {score!r}: a finite number is needed")
    if not isinstance(segmentations, list):
        raise ValueError(f"segmentations: expected a list, got {type(segmentations).__name__}")
    given = len(segmentations)
    if given < video.length:
        raise ValueError(
            f"frame {given}: missing; the track has {given} frames and its video {video.length} "
            "(write null for a frame without the object)"
        )
    if given > video.length:
        raise ValueError(
            f"frame {video.length}: one too many; the track has {given} frames and its video {video.length}"
        )
    return tube_of(segmentations, video.height, video.width)
