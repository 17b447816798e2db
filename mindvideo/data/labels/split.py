"""Divides a labelled set into training and validation, reproducibly: by whole videos, or each video by its time."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mindvideo.data.labels.forms import Form, number_or_string, some_strings, string, whole_number
from mindvideo.data.labels.reading import read_json, refusal, require_form, require_list, require_own_ids
from mindvideo.data.media.video_frames import video_of_frame
from mindvideo.errors import UserError

LAYOUT = "labelled YouTube-VIS"
WAYS = ("video", "time")
_PER_FRAME = ("bboxes", "segmentations")  # lists of an annotation with an entry for each frame, which every file has
_ALSO_PER_FRAME = ("areas", "occlusion")
# All that a split looks at; the rest of an entry is passed on unseen.
FORMS: dict[str, Form] = {
    "videos": {"id": number_or_string, "file_names": some_strings},
    "annotations": {"video_id": number_or_string, "category_id": whole_number},
    "categories": {"id": whole_number, "name": string},
}


@dataclasses.dataclass(frozen=True)
class Split:
    """Two annotation contents and the fingerprint of the list of validation videos or frames."""

    train: dict[str, Any]
    valid: dict[str, Any]
    fingerprint: str


def video_name(video: dict[str, Any]) -> str:
    """The folder of a video's frames, or its video file."""
    return str(video_of_frame(video["file_names"][0]))


def identities(videos: Sequence[dict[str, Any]]) -> dict[int | str, str]:
    """Id -> a name of the video that stays the same in copies of a data set, where ids may change.

    That is its folder or file; where several videos share one it is the name of the first frame.
    """
    names = [video_name(video) for video in videos]
    users = Counter(names)
    return {video["id"]: name if users[name] == 1 else video["file_names"][0] for video, name in zip(videos, names)}


def split_annotations(annotation_file: str | Path, *, share: float, seed: int = 0, by: str = "video") -> Split:
    """Put ``share`` of the labelled videos, or ``by`` "time" of the frames of each of them, into validation."""
    content = _read_labelled(annotation_file)
    if not 0 < share < 1:
        raise UserError(f"a share of {share} cannot be split off; give a number between 0 and 1, for instance 0.1")
    if by == "time":
        return _split_by_time(content, share, str(annotation_file))
    return _split_by_video(content, share, seed, str(annotation_file))


def _split_by_video(content: dict[str, Any], share: float, seed: int, source: str) -> Split:
    """Categories are served from the rarest on: each gets its share of videos in the order of the videos' hashes.

    So a video's side depends on its name, the seed and the other videos' labels, not on the order of the file.
    """
    labelled = {entry["video_id"] for entry in content["annotations"]}
    names = {number: name for number, name in identities(content["videos"]).items() if number in labelled}
    ranks = {number: _hash_of(name, seed) for number, name in names.items()}
    chosen = _choose(content["annotations"], ranks, share)
    if not chosen or len(chosen) == len(names):
        raise UserError(_no_split_by_video(content, source, len(chosen), len(names)))
    return Split(
        train=_part(content, set(names) - chosen),
        valid=_part(content, chosen),
        fingerprint=_fingerprint([names[number] for number in chosen]),
    )


def _no_split_by_video(content: dict[str, Any], source: str, chosen: int, total: int) -> str:
    """The reason, and an advice that works: another share only helps where a category has several videos."""
    videos_of: dict[int, set[int | str]] = {}
    for entry in content["annotations"]:
        videos_of.setdefault(entry["category_id"], set()).add(entry["video_id"])
    by_time = "--by time gives the end of each video to validation"
    if total == 1:
        return f"{source}: one labelled video cannot be on both sides; {by_time}"
    if all(len(videos) == 1 for videos in videos_of.values()):
        return (
            f"{source}: no category is in two of the {total} labelled videos, so none can be on both sides; {by_time}"
        )
    return (
        f"{source}: {chosen} of {total} labelled videos would be for validation, but both parts need at least one; "
        f"give another --share, or {by_time}"
    )


def _split_by_time(content: dict[str, Any], share: float, source: str) -> Split:
    """The last ``share`` of the frames of every labelled video is for validation, at least one of them."""
    labelled = {entry["video_id"] for entry in content["annotations"]}
    videos = [video for video in content["videos"] if video["id"] in labelled]
    lengths = {video["id"]: len(video["file_names"]) for video in videos}
    for entry in content["annotations"]:
        for key in _PER_FRAME:
            if not isinstance(entry.get(key), list) or len(entry[key]) != lengths[entry["video_id"]]:
                where = f"annotation {entry.get('id')}"
                raise refusal(source, where, f"'{key}' is no list with an entry for each frame of its video")
    cuts = {
        number: length - min(max(1, round(share * length)), length - 1) if length > 1 else length
        for number, length in lengths.items()
    }
    train = _cut(content, videos, {number: slice(0, cut) for number, cut in cuts.items()})
    valid = _cut(content, videos, {number: slice(cut, None) for number, cut in cuts.items()})
    for part, name, other in ((train, "first", "smaller"), (valid, "last", "larger")):
        if not part["annotations"]:
            raise UserError(f"{source}: no object is in the {name} part of any video; give a {other} --share")
    names = [name for video in valid["videos"] for name in video["file_names"]]
    return Split(train=train, valid=valid, fingerprint=_fingerprint(names))


def _cut(content: dict[str, Any], videos: list[dict[str, Any]], spans: dict[int | str, slice]) -> dict[str, Any]:
    """The content with one span of frames of each video; instances that are not in it are left out."""
    cut_videos, annotations = [], []
    for video in videos:
        names = video["file_names"][spans[video["id"]]]
        if names:
            cut_videos.append({**video, "file_names": names, "length": len(names)})
    for entry in content["annotations"]:
        number = entry["video_id"]
        part = {
            key: value[spans[number]] if key in _PER_FRAME + _ALSO_PER_FRAME and isinstance(value, list) else value
            for key, value in entry.items()
        }
        if any(frame for key in _PER_FRAME for frame in part[key]):
            annotations.append(part)
    return {**content, "videos": cut_videos, "annotations": annotations}


def _fingerprint(names: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]


def _read_labelled(file: str | Path) -> dict[str, Any]:
    """The content of a file that has everything a split looks at."""
    file = Path(file)
    content = read_json(file)
    require_list(file, content, "videos", LAYOUT)
    if not content.get("annotations"):
        raise UserError(f"{file} has no annotations; only a labelled set can be split")
    for part in FORMS:
        require_list(file, content, part, LAYOUT)
    require_form(file, content, FORMS)
    require_own_ids(file, content, "videos", "categories")
    unknown = {entry["video_id"] for entry in content["annotations"]} - {video["id"] for video in content["videos"]}
    if unknown:
        raise UserError(f"{file}: annotations of videos that are not listed: {sorted(unknown, key=str)[:5]}")
    return content


def _hash_of(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()


def _choose(annotations: list[dict[str, Any]], ranks: dict[int | str, str], share: float) -> set[int | str]:
    members: dict[int, set[int | str]] = {}
    for entry in annotations:
        members.setdefault(entry["category_id"], set()).add(entry["video_id"])
    chosen: set[int | str] = set()
    decided: set[int | str] = set()
    for category in sorted(members, key=lambda category: (len(members[category]), category)):
        videos = members[category]
        wanted = round(share * len(videos))
        if len(videos) > 1:
            wanted = min(max(wanted, 1), len(videos) - 1)
        open_videos = sorted(videos - decided, key=lambda number: (ranks[number], str(number)))
        chosen.update(open_videos[: max(0, wanted - len(videos & chosen))])
        decided |= videos
    return chosen


def _part(content: dict[str, Any], videos: set[int | str]) -> dict[str, Any]:
    return {
        **content,
        "videos": [video for video in content["videos"] if video["id"] in videos],
        "annotations": [entry for entry in content["annotations"] if entry["video_id"] in videos],
    }


def category_counts(content: dict[str, Any]) -> dict[str, int]:
    """Category name -> number of instances."""
    counts = Counter(entry["category_id"] for entry in content["annotations"])
    return {category["name"]: counts[category["id"]] for category in content["categories"]}
