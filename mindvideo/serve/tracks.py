"""The tracks of a finished video, and what a visitor makes of them: hidden, with other names, in other colours."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mindvideo.errors import UserError
from mindvideo.files import write_json
from mindvideo.inference.output.colors import track_color
from mindvideo.inference.output.draw import Color, TrackLook, name_of_class
from mindvideo.inference.output.video_writer import MAX_RATE, MIN_RATE
from mindvideo.masks.rle import has_pixels
from mindvideo.structures import VideoInstances

MAX_OVERLAP = 0.6  # of masks; a track that overlaps a surer one by more is hidden at first
MAX_NAME = 80
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


def write_tracks(
    path: Path,
    result: VideoInstances,
    *,
    class_names: Mapping[int, str],
    frames_per_second: float,
    covered: Collection[int],
    cuts: Sequence[int],
) -> None:
    """``tracks.json``: the video's size, length and rate, and a line for each track, the surest first."""
    tracks = []
    for row in np.argsort(-result.scores, kind="stable").tolist():
        seen = [place for place, mask in enumerate(result.segmentations[row]) if mask is not None and has_pixels(mask)]
        track = int(result.track_ids[row])
        if seen:
            tracks.append(
                {
                    "id": track,
                    "class": name_of_class(class_names, int(result.labels[row])),
                    "score": round(float(result.scores[row]), 4),
                    "first": seen[0],
                    "last": seen[-1],
                    "seen": len(seen),
                    "covered": track in covered,
                    "color": "#{:02x}{:02x}{:02x}".format(*track_color(track)),
                }
            )
    height, width = result.size
    rate = min(max(frames_per_second, MIN_RATE), MAX_RATE)
    facts = {"width": width, "height": height, "frames": result.num_frames, "rate": rate, "cuts": list(cuts)}
    write_json(path, {**facts, "tracks": tracks}, indent=None)


@dataclasses.dataclass(frozen=True)
class Edits:
    """By track id. A track of which ``hidden`` says nothing is shown unless it is covered."""

    confidence: float
    hidden: Mapping[int, bool] = dataclasses.field(default_factory=dict)
    names: Mapping[int, str] = dataclasses.field(default_factory=dict)
    colors: Mapping[int, str] = dataclasses.field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "confidence": self.confidence,
            **{kind: {str(track): value for track, value in sorted(getattr(self, kind).items())} for kind in _CHECKS},
        }

    def look(self) -> TrackLook:
        return TrackLook({track: _rgb(color) for track, color in self.colors.items()}, dict(self.names))

    def shown(self, track: Mapping[str, Any]) -> bool:
        """Whether a track of ``tracks.json`` is to be seen."""
        return track["score"] >= self.confidence and not self.hidden.get(track["id"], track["covered"])


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise UserError("hidden: true or false is needed")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise UserError("names: strings are needed")
    return "".join(letter for letter in value if letter.isprintable()).strip()[:MAX_NAME]


def _color(value: Any) -> str:
    if not isinstance(value, str) or not _COLOR.fullmatch(value):
        raise UserError(f"colors: {str(value)[:20]}: a colour is written as #ff8000")
    return value.lower()


_CHECKS = {"hidden": _flag, "names": _name, "colors": _color}


def checked_edits(given: Any, known: Collection[int]) -> Edits:
    """Edits from the page. UserError for what is none, or is about a track that there is not."""
    if not isinstance(given, dict):
        raise UserError("edits: an object is needed")
    confidence = checked_confidence(given.get("confidence"))
    parts: dict[str, dict[int, Any]] = {}
    for kind, check in _CHECKS.items():
        entries = given.get(kind, {})
        if not isinstance(entries, dict):
            raise UserError(f"{kind}: an object with track ids is needed")
        parts[kind] = {}
        for track, value in entries.items():
            if not track.isascii() or not track.isdigit() or len(track) > 9 or int(track) not in known:
                raise UserError(f"{kind}: there is no track {track[:20]}")
            parts[kind][int(track)] = check(value)
    parts["names"] = {track: name for track, name in parts["names"].items() if name}
    return Edits(confidence, **parts)


def checked_confidence(given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not math.isfinite(given):
        raise UserError("confidence: a number from 0 to 1 is needed")
    if not 0 <= given <= 1:
        raise UserError(f"confidence {given}: a number from 0 to 1 is needed")
    return float(given)


def read_edits(path: Path, *, confidence: float) -> Edits:
    """The edits that are kept for a video; none yet: those of its beginning."""
    if not path.is_file():
        return Edits(confidence)
    kept = json.loads(path.read_text(encoding="utf-8"))
    parts = {kind: {int(track): value for track, value in kept[kind].items()} for kind in _CHECKS}
    return Edits(kept["confidence"], **parts)


def _rgb(color: str) -> Color:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
