"""Annotation files, and results with the annotation file that they are of, as videos to write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mindvideo.data.exporters.tracked_video import Track, TrackedVideo, masks_by_place
from mindvideo.data.labels.videos import Video, VideoAnnotations
from mindvideo.data.media.video_frames import parse_video_frame, video_of_frame
from mindvideo.masks.rle import has_pixels
from mindvideo.structures import Segmentation


def videos_of_labels(labels: VideoAnnotations) -> Iterator[TrackedVideo]:
    """The labels themselves. Tracks are numbered from 1 in every video."""
    names = labels.category_names
    for name, video in zip(_names(labels.videos), labels.videos):
        tracks = [
            Track(
                id=number,
                category_id=track.category_id,
                category=names[track.category_id],
                masks={
                    place: as_segmentation(mask)
                    for place, mask in enumerate(track.masks)
                    if mask is not None and has_pixels(mask)
                },
            )
            for number, track in enumerate(video.tracks, start=1)
        ]
        yield _video(video, name, tracks)


def videos_of_results(
    labels: VideoAnnotations, records: Mapping[int | str, Sequence[Mapping[str, Any]]], *, min_score: float
) -> Iterator[TrackedVideo]:
    """Results (records by video id, with masks as compressed strings) that score at least ``min_score``."""
    names = labels.category_names
    for name, video in zip(_names(labels.videos), labels.videos):
        tracks = [
            Track(
                id=number,
                category_id=record["category_id"],
                category=names.get(record["category_id"], f"class {record['category_id']}"),
                masks=masks_by_place(record["segmentations"]),
                score=float(record["score"]),
            )
            for number, record in enumerate(records.get(video.id, ()), start=1)
            if record["score"] >= min_score
        ]
        yield _video(video, name, tracks)


def _video(video: Video, name: str, tracks: Sequence[Track]) -> TrackedVideo:
    places = [parse_video_frame(file_name) for file_name in video.file_names]
    numbers = [place if found is None else found[1] for place, found in enumerate(places)]
    return TrackedVideo(
        name=name,
        size=(video.height, video.width),
        numbers=numbers,
        file_names=video.file_names,
        tracks=[track for track in tracks if track.masks],
    )


def _names(videos: Sequence[Video]) -> list[str]:
    """A name for each video, no two alike: that of its folder or file, with its id where that is not enough."""
    plain = [video_of_frame(video.file_names[0]).name or "video" for video in videos]
    return [name if plain.count(name) == 1 else f"{name}-{video.id}" for name, video in zip(plain, videos)]


def as_segmentation(mask: Mapping[str, Any]) -> Segmentation:
    counts = mask["counts"]
    return {"size": list(mask["size"]), "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}


def picture_of(folder: Path, file_name: str) -> Path | None:
    """The picture file of a frame; None for one inside a video file."""
    return None if parse_video_frame(file_name) else folder / file_name
