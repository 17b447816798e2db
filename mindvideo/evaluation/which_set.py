"""Whether results are of the set that they are compared with, and if not, of which set on this machine."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

from mindvideo.data.labels.catalogue import Catalogue, DatasetFiles
from mindvideo.errors import UserError
from mindvideo.evaluation.ground_truth import LabelledVideo, read_ground_truth
from mindvideo.evaluation.results_json import Record, Results, VideoId, shown

SAMPLE = 40  # videos of the results that are looked at
MIN_SHARE = 0.5  # below it the results are of another set; single faults are named where they are scored
SURE_SHARE = 0.9


def require_same_set(results: Results, videos: Mapping[VideoId, LabelledVideo], annotations: str | Path) -> None:
    """UserError in one line where most of the results' videos are not those of ``annotations``."""
    sample = _sample(results)
    if not sample:
        return
    fitting = _share(sample, videos)
    if fitting >= MIN_SHARE:
        return
    odd = next(video_id for video_id, record in sample.items() if not _fits(record, videos.get(video_id)))
    raise UserError(
        f"video {shown(odd)} and others of the results are not those of {annotations} "
        f"({_difference(odd, sample, videos)}): results and annotations must be of one set; "
        f"{_resemblance(sample, Path(annotations))}"
    )


def _sample(results: Results) -> dict[VideoId, Record]:
    """One record of some videos."""
    found = {}
    for video_id in itertools.islice(results.video_ids(), SAMPLE):
        records = results.records(video_id)
        if records:
            found[video_id] = records[0]
    return found


def _share(sample: Mapping[VideoId, Record], videos: Mapping[VideoId, LabelledVideo]) -> float:
    return sum(_fits(record, videos.get(video_id)) for video_id, record in sample.items()) / len(sample)


def _fits(record: Record, video: LabelledVideo | None) -> bool:
    """Whether a track covers the frames of the video, in masks of its size; what is no track at all passes here."""
    masks = record["segmentations"]
    if video is None or not isinstance(masks, list):
        return video is not None
    size = next((mask.get("size") for mask in masks if isinstance(mask, dict)), None)
    return len(masks) == video.length and size in (None, [video.height, video.width])


def _difference(odd: VideoId, sample: Mapping[VideoId, Record], videos: Mapping[VideoId, LabelledVideo]) -> str:
    video = videos.get(odd)
    if video is None:
        twin = next((number for number in videos if str(number) == str(odd)), None)
        if twin is not None:
            return f"its ids are of another type: {twin!r} there, {shown(odd)} in the results"
        example = next(iter(videos), None)
        return f"which does not list it; its ids are like {example!r}"
    return f"{video.length} frames of {video.width}x{video.height} there, {len(sample[odd]['segmentations'])} here"


def _resemblance(sample: Mapping[VideoId, Record], annotations: Path) -> str:
    """The set on this machine of which the results are, as far as ids, lengths and sizes tell."""
    best, of = 0.0, None
    for files in _known_sets(annotations):
        try:
            videos = read_ground_truth(files.annotations, labels_needed=False).videos
        except UserError:
            continue
        share = _share(sample, {video.id: video for video in videos})
        if share > best:
            best, of = share, files
    if of is not None and best >= SURE_SHARE:
        return f"they look like results of {of.name} ({of.annotations})"
    return "they look like those of no other set in data.root or beside these annotations"


def _known_sets(annotations: Path) -> Iterator[DatasetFiles]:
    """The sets without the training parts below the usual root, and below the folders above the annotations."""
    above = annotations.resolve().parents
    seen = {annotations.resolve()}
    roots: list[str | Path] = ["", *above[:3]]
    for root in roots:
        for files in Catalogue(root=root).sets_with_files():
            place = files.annotations.resolve()
            if place not in seen and not files.name.endswith("/train"):
                seen.add(place)
                yield files
