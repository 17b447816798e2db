"""Files for an evaluation server: every fault found before they are sent, and the archive that servers take."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mindvideo.data.labels.forms import EVALUATED_FORMS
from mindvideo.data.labels.reading import read_json, require_form, require_list
from mindvideo.errors import printable
from mindvideo.evaluation.ground_truth import LabelledVideo, parse_video, require_lengths
from mindvideo.evaluation.results_json import Record, ResultsFile, VideoId, is_finite_number, shown
from mindvideo.files import atomic_path
from mindvideo.masks.runs import first_broken

RESULTS_NAME = "results.json"  # what servers look for in the archive
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # equal results give equal archives


def read_video_list(path: str | Path) -> tuple[dict[VideoId, LabelledVideo], set[int]]:
    """Videos and category ids of an annotation file whose labels may be withheld."""
    path = Path(path)
    content = read_json(path)
    require_list(path, content, "videos", "YouTube-VIS")
    require_form(path, content, {part: EVALUATED_FORMS[part] for part in ("videos", "categories")})
    require_lengths(content, str(path))
    videos = {entry["id"]: parse_video(entry) for entry in content["videos"]}
    return videos, {entry["id"] for entry in content.get("categories") or ()}


def problems_of(results: ResultsFile, videos: dict[VideoId, LabelledVideo], categories: set[int]) -> Iterator[str]:
    """Everything that a server would stumble over or score wrongly, one line each, in the order of the videos."""
    if not len(results):
        yield "no track at all: every video would count as empty"
    for video_id in results.video_ids():
        video = videos.get(video_id)
        if video is None:
            yield f"video {shown(video_id)}: not in the annotation file{_near_id(video_id, videos)}"
            continue
        records = results.records(video_id)
        seen: dict[tuple, int] = {}
        for track, record in enumerate(records):
            owner = f"video {printable(video_id)}, track {track}"
            problems = list(_problems_of_record(record, video, categories))
            for problem in problems:
                yield f"{owner}: {problem}"
            if problems:
                continue
            masks = tuple(mask and mask["counts"] for mask in record["segmentations"])
            content = (record["category_id"], record["score"], masks)
            if content in seen:
                yield f"{owner}: the same as track {seen[content]} in masks, category and score"
            seen.setdefault(content, track)


def _near_id(video_id: VideoId, videos: dict[VideoId, LabelledVideo]) -> str:
    """A hint where an id is right but for its type."""
    if isinstance(video_id, str) and re.fullmatch(r"-?[0-9]{1,18}", video_id) and int(video_id) in videos:
        return ", which has the number and not the string"
    return ", which has the string and not the number" if str(video_id) in videos else ""


def _problems_of_record(record: Record, video: LabelledVideo, categories: set[int]) -> Iterable[str]:
    category, score, segmentations = record["category_id"], record["score"], record["segmentations"]
    if isinstance(category, bool) or not isinstance(category, int):
        yield f"category_id {shown(category)}: an integer is needed"
    elif categories and category not in categories:
        ids = f"{min(categories)} to {max(categories)}"
        yield f"category_id {shown(category)}: not in the annotation file, which has {ids}"
    if not is_finite_number(score):
        yield f"score {shown(score)}: a number is needed"
    elif not 0 <= score <= 1:
        yield f"score {shown(score)}: outside 0 to 1"
    if not isinstance(segmentations, list):
        yield f"segmentations: a list is needed, got {type(segmentations).__name__}"
        return
    if len(segmentations) != video.length:
        yield f"{len(segmentations)} frames, but the video has {video.length} (null where the object is absent)"
    yield from _problems_of_masks(segmentations, video)


def _problems_of_masks(segmentations: list[Any], video: LabelledVideo) -> Iterable[str]:
    strings, size = [], [video.height, video.width]
    for frame, mask in enumerate(segmentations):
        strings.append(b"")
        if mask is None:
            continue
        if not isinstance(mask, dict) or not isinstance(mask.get("counts"), str) or not mask["counts"].isascii():
            yield f"frame {frame}: neither null nor an RLE with 'size' and 'counts' as a string"
        elif mask.get("size") != size:
            given = mask.get("size")
            given = given if isinstance(given, list) and len(given) == 2 and all(map(is_finite_number, given)) else None
            yield f"frame {frame}: mask size {given or 'missing'}, but the video's frames are {size} (height, width)"
        else:
            strings[-1] = mask["counts"].encode("ascii")
    broken = first_broken(strings, video.height * video.width)
    if broken is not None:
        yield f"frame {broken}: the RLE string is damaged, or its runs do not cover the frame"
    if not any(segmentations):
        yield "no mask in any frame"


def write_archive(results: Path, archive: Path) -> None:
    """``results`` as ``results.json`` in a zip; equal content gives equal bytes."""
    entry = zipfile.ZipInfo(RESULTS_NAME, date_time=_ZIP_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    with atomic_path(archive) as temporary, zipfile.ZipFile(temporary, "w") as packed:
        with open(results, "rb") as source, packed.open(entry, "w", force_zip64=True) as target:
            while chunk := source.read(1 << 20):
                target.write(chunk)
