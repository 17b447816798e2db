"""Parts a labelled set into training and validation videos, reproducibly and with every category on both sides."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mindvideo.data.labels.forms import Form, number_or_string, some_strings, string, whole_number
from mindvideo.data.labels.reading import read_json, require_form, require_list
from mindvideo.data.media.video_frames import video_of_frame
from mindvideo.errors import UserError

LAYOUT = "labelled YouTube-VIS"
# All that a split looks at; the rest of an entry is passed on unseen.
FORMS: dict[str, Form] = {
    "videos": {"id": number_or_string, "file_names": some_strings},
    "annotations": {"video_id": number_or_string, "category_id": whole_number},
    "categories": {"id": whole_number, "name": string},
}


@dataclasses.dataclass(frozen=True)
class Split:
    """Two annotation contents and the fingerprint of the list of validation videos."""

    train: dict[str, Any]
    valid: dict[str, Any]
    fingerprint: str


def video_name(video: dict[str, Any]) -> str:
    """The folder of a video's frames, or its video file."""
    return str(video_of_frame(video["file_names"][0]))


def identities(videos: Sequence[dict[str, Any]]) -> dict[int | str, str]:
    """Id -> what identifies a video across copies of a data set, where ids may change.

    That is its folder or file; where several videos share one it is the name of the first frame.
    """
    names = [video_name(video) for video in videos]
    users = Counter(names)
    return {video["id"]: name if users[name] == 1 else video["file_names"][0] for video, name in zip(videos, names)}


def split_annotations(annotation_file: str | Path, *, share: float, seed: int = 0) -> Split:
    """Put ``share`` of the labelled videos into validation.

    Categories are served from the rarest on: each gets its share of videos in the order of the videos' hashes, so a
    video's side depends on its name, the seed and the other videos' labels, not on the order of the file.
    """
    content = _read_labelled(annotation_file)
    if not 0 < share < 1:
        raise UserError(f"a share of {share} cannot be split off; give a number between 0 and 1, for instance 0.1")
    labelled = {entry["video_id"] for entry in content["annotations"]}
    names = {number: name for number, name in identities(content["videos"]).items() if number in labelled}
    ranks = {number: _hash_of(name, seed) for number, name in names.items()}
    chosen = _choose(content["annotations"], ranks, share)
    if not chosen or len(chosen) == len(names):
        raise UserError(
            f"{annotation_file}: {len(chosen)} of {len(names)} labelled videos would be for validation, but both parts "
            "need at least one; give another --share, or more videos"
        )
    listed = "\n".join(sorted(names[number] for number in chosen))
    return Split(
        train=_part(content, set(names) - chosen),
        valid=_part(content, chosen),
        fingerprint=hashlib.sha256(listed.encode()).hexdigest()[:16],
    )


def _read_labelled(file: str | Path) -> dict[str, Any]:
    """The file's content, with everything that a split looks at in it."""
    file = Path(file)
    content = read_json(file)
    require_list(file, content, "videos", LAYOUT)
    if not content.get("annotations"):
        raise UserError(f"{file} has no annotations; only a labelled set can be split")
    for part in FORMS:
        require_list(file, content, part, LAYOUT)
    require_form(file, content, FORMS)
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
