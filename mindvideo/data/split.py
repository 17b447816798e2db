"""Parts a labelled set into training and validation videos, reproducibly and with every category on both sides."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

from mindvideo.data.annotations import read_json
from mindvideo.data.video_frames import video_of_frame
from mindvideo.errors import UserError


@dataclasses.dataclass(frozen=True)
class Split:
    """Two annotation contents and the fingerprint of the list of validation videos."""

    train: dict[str, Any]
    valid: dict[str, Any]
    fingerprint: str


def video_name(video: dict[str, Any]) -> str:
    """What identifies a video across copies of a data set, where ids may change: its folder of frames or file."""
    return str(video_of_frame(video["file_names"][0]))


def split_annotations(annotation_file: str | Path, *, share: float, seed: int = 0) -> Split:
    """Put ``share`` of the labelled videos into validation.

    Categories are served from the rarest on: each gets its share of videos in the order of the videos' hashes, so a
    video's side depends on its name, the seed and the other videos' labels, not on the order of the file.
    """
    content = read_json(Path(annotation_file))
    if not content.get("annotations"):
        raise UserError(f"{annotation_file} has no annotations; only a labelled set can be split")
    if not 0 < share < 1:
        raise UserError(f"a share of {share} cannot be split off; give a number between 0 and 1, for instance 0.1")
    labelled = {entry["video_id"] for entry in content["annotations"]}
    videos = {video["id"]: video for video in content["videos"] if video["id"] in labelled}
    ranks = {number: _hash_of(video_name(video), seed) for number, video in videos.items()}
    chosen = _choose(content["annotations"], ranks, share)
    listed = "\n".join(sorted(video_name(videos[number]) for number in chosen))
    return Split(
        train=_part(content, set(videos) - chosen),
        valid=_part(content, chosen),
        fingerprint=hashlib.sha256(listed.encode()).hexdigest()[:16],
    )


def _hash_of(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()


def _choose(annotations: list[dict[str, Any]], ranks: dict[int, str], share: float) -> set[int]:
    members: dict[int, set[int]] = {}
    for entry in annotations:
        members.setdefault(entry["category_id"], set()).add(entry["video_id"])
    chosen: set[int] = set()
    decided: set[int] = set()
    for category in sorted(members, key=lambda category: (len(members[category]), category)):
        videos = members[category]
        wanted = round(share * len(videos))
        if len(videos) > 1:
            wanted = min(max(wanted, 1), len(videos) - 1)
        open_videos = sorted(videos - decided, key=ranks.__getitem__)
        chosen.update(open_videos[: max(0, wanted - len(videos & chosen))])
        decided |= videos
    return chosen


def _part(content: dict[str, Any], videos: set[int]) -> dict[str, Any]:
    return {
        **content,
        "videos": [video for video in content["videos"] if video["id"] in videos],
        "annotations": [entry for entry in content["annotations"] if entry["video_id"] in videos],
    }


def category_counts(content: dict[str, Any]) -> dict[str, int]:
    """Category name -> number of instances."""
    counts = Counter(entry["category_id"] for entry in content["annotations"])
    return {category["name"]: counts[category["id"]] for category in content["categories"]}
