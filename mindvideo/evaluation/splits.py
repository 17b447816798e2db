"""Groups that are scored apart: occlusion levels of OVIS, short and long videos of YouTube-VIS 2022."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mindvideo.data.labels.reading import read_json, require_list
from mindvideo.data.media.video_frames import video_of_frame
from mindvideo.errors import UserError
from mindvideo.evaluation.ground_truth import GroundTruth

OCCLUSION_LEVELS = ("slight", "moderate", "heavy")
# Score of one frame by the name that OVIS gives it. The score of a track is the mean over the frames that have a name;
# up to 0.25 is slight, up to 0.5 moderate, above heavy: the grouping of the OVIS paper.
OCCLUSION_SCORES = {"no_occlusion": 0.0, "slight_occlusion": 0.25, "severe_occlusion": 0.75}
_SLIGHT_UP_TO, _MODERATE_UP_TO = 0.25, 0.5


def occlusion_level(names: Sequence[str | None] | None) -> str | None:
    """``slight``, ``moderate`` or ``heavy``; None without labels. Frames without the object have no name."""
    scores = []
    for frame, name in enumerate(names or ()):
        if name is None:
            continue
        if name not in OCCLUSION_SCORES:
            raise UserError(f"occlusion '{name}' in frame {frame}: expected one of {', '.join(OCCLUSION_SCORES)}")
        scores.append(OCCLUSION_SCORES[name])
    if not scores:
        return None
    mean = sum(scores) / len(scores)
    return "slight" if mean <= _SLIGHT_UP_TO else "moderate" if mean <= _MODERATE_UP_TO else "heavy"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LengthRules:
    """Which videos are long: ``long`` says so, or they are those that the file ``short`` does not list.

    ``long`` is a number (videos of at least so many frames) or a file that lists the long videos, one id or folder name
    a line, or that is an annotation file of them. The annotation files of YouTube-VIS 2022 do not mark the long ones,
    and as they are sampled more thinly their number of frames does not tell them apart for sure: prefer a list, or give
    as ``short`` the validation file of 2021, which has the short ones. Empty: no rule.
    """

    long: str = ""
    short: str = ""

    def facts(self) -> dict[str, str | None]:
        return {"long_videos": self.long or None, "short_videos": self.short or None}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> LengthRules:
        return cls(long=facts.get("long_videos") or "", short=facts.get("short_videos") or "")


def long_videos(ground_truth: GroundTruth, rules: LengthRules) -> set[int | str] | None:
    """Ids of the long videos; the others are short. None without a rule."""
    if rules.short:
        short = _named(ground_truth, rules.short, "short videos")
        return {video.id for video in ground_truth.videos} - short
    return _long_by(ground_truth, rules.long) if rules.long else None


def _long_by(ground_truth: GroundTruth, rule: str) -> set[int | str]:
    if rule.isascii() and rule.isdigit() and len(rule) <= 9:
        return {video.id for video in ground_truth.videos if video.length >= int(rule)}
    return _named(ground_truth, rule, "long videos")


def _named(ground_truth: GroundTruth, file: str, what: str) -> set[int | str]:
    """Ids of the videos that a file lists."""
    path = Path(file)
    if not path.is_file():
        number = "a number of frames, or " if what == "long videos" else ""
        raise UserError(f"{what} '{file}': expected {number}a file that lists the {what}")
    names = _listed(path)
    found = {video.id for video in ground_truth.videos if {str(video.id), video.name} & names}
    if not found:
        raise UserError(f"{path}: none of the {len(names)} videos it lists is in the annotation file")
    return found


def _listed(path: Path) -> set[str]:
    """Ids or folder names of the file's videos."""
    if path.suffix != ".json":
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read as a list of videos ({error})") from error
        return {line.strip() for line in lines if line.strip()}
    content = read_json(path)
    if isinstance(content, dict):  # ids of another file need not be the same: take the folders
        require_list(path, content, "videos", "YouTube-VIS")
        return {video_of_frame(name).name for name in _first_frames(path, content["videos"])}
    if not isinstance(content, list) or not all(isinstance(entry, (int, str)) for entry in content):
        raise UserError(f"{path}: expected a list of ids or folder names, or an annotation file")
    return {str(entry) for entry in content}


def _first_frames(path: Path, videos: list) -> list[str]:
    frames = []
    for number, video in enumerate(videos):
        names = video.get("file_names") if isinstance(video, dict) else None
        if not isinstance(names, list) or not names or not isinstance(names[0], str):
            raise UserError(f"{path}: video {number} of the list has no file_names, which are needed to tell it apart")
        frames.append(names[0])
    return frames
