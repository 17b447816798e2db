"""Result files of the YouTube-VIS layout from any source, read one video at a time, and their faults."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mindvideo.errors import UserError, printable
from mindvideo.evaluation.ground_truth import LabelledVideo
from mindvideo.evaluation.results_stream import open_plain, scan_list
from mindvideo.masks.forms import Tube, tube_of

VideoId = int | str
Record = dict[str, Any]  # video_id, category_id, score, segmentations
KEYS = ("video_id", "category_id", "score", "segmentations")
_MAX_SHOWN = 60  # characters


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
        self._stream = open_plain(self.path)
        self._places: dict[VideoId, list[tuple[int, int]]] = {}
        try:
            for number, (record, begin, end) in enumerate(scan_list(self._stream, str(path))):
                _require_keys(record, number)
                self._places.setdefault(record["video_id"], []).append((begin, end))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error

    def __len__(self) -> int:
        return sum(map(len, self._places.values()))

    def video_ids(self) -> Sequence[VideoId]:
        return list(self._places)

    def records(self, video_id: VideoId) -> list[Record]:
        records = []
        for begin, end in self._places.get(video_id, ()):
            self._stream.seek(begin)
            records.append(json.loads(self._stream.read(end - begin).decode("utf-8")))
        return records


def _require_keys(record: Any, number: int) -> None:
    if not isinstance(record, dict):
        raise UserError(f"record {number}: expected an object with {', '.join(KEYS)}, got {type(record).__name__}")
    missing = [key for key in KEYS if key not in record]
    if missing:
        raise UserError(f"record {number}: no '{missing[0]}'; a record has {', '.join(KEYS)}")
    video_id = record["video_id"]
    if isinstance(video_id, bool) or not isinstance(video_id, (int, str)):
        raise UserError(f"record {number}: video_id {shown(video_id)}: an integer or a string is needed")


def is_finite_number(value: Any) -> bool:
    """Whether ``value`` is an int or float that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer of more than 308 digits
        return False


def shown(value: Any) -> str:
    """A value of a file in a message: short, printable, and never the inside of a container."""
    if value is not None and not isinstance(value, (bool, int, float, str)):
        return f"of type {type(value).__name__}"
    string = printable(repr(value))
    return string if len(string) <= _MAX_SHOWN else string[:_MAX_SHOWN] + "..."


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
    if not is_finite_number(score):
        raise ValueError(f"score {shown(score)}: a finite number is needed")
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
