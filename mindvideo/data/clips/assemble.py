"""From names and settings to training clips: the one place that knows which parts go together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mindvideo.data.clips.image_dataset import ImageDataset
from mindvideo.data.clips.pasting import PastedClips
from mindvideo.data.clips.rules import ClipRule, SeveralWindows, clip_rule
from mindvideo.data.clips.source import ClipSource
from mindvideo.data.clips.training import JointClips, TrainingClips
from mindvideo.data.clips.video_dataset import VideoDataset
from mindvideo.data.labels.catalogue import Catalogue, DatasetFiles
from mindvideo.data.labels.categories import Category, read_category_file
from mindvideo.data.labels.images import read_category_map
from mindvideo.data.transforms.pipelines import AugmentationSettings, build_augmentation

MAX_IMAGE_INSTANCES = 25  # a clip made of an image with more is not used


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """How samples are made of the sets; the names and meanings are those of section ``data`` of the configuration."""

    num_frames: int
    windows: int = 1
    clip_rule: str = "consecutive"
    repeat_last_frame: bool = False
    samples_per: str = "frame"
    pasted_share: float = 0.0
    augmentation: AugmentationSettings = dataclasses.field(default_factory=AugmentationSettings)
    absent: str = "keep"
    min_instances: int = 1
    category_map: str = "corrected"
    cache_megabytes: int = 0
    strict: bool = False


def training_clips(names: Sequence[str], *, catalogue: Catalogue, settings: ClipSettings) -> TrainingClips | JointClips:
    """Clips of one or several sets of the catalogue, transformed and ready for the loader."""
    makers = {"video": _video_part, "image": _image_part}
    parts = []
    for name in names:
        files = catalogue.find(name).require()
        parts.append(makers[files.kind](files, settings))
    return parts[0] if len(parts) == 1 else JointClips(parts=parts)


def _rule(settings: ClipSettings) -> ClipRule:
    rule = clip_rule(settings.clip_rule, num_frames=settings.num_frames, repeat_last=settings.repeat_last_frame)
    return rule if settings.windows == 1 else SeveralWindows(rule=rule, windows=settings.windows)


def _maybe_pasted(source: ClipSource, settings: ClipSettings) -> ClipSource:
    return PastedClips(source=source, share=settings.pasted_share) if settings.pasted_share else source


def _video_part(files: DatasetFiles, settings: ClipSettings) -> TrainingClips:
    source = VideoDataset(
        annotation_file=files.annotations,
        frame_folder=files.frames,
        clip_rule=_rule(settings),
        samples_per=settings.samples_per,
        cache_megabytes=settings.cache_megabytes,
    )
    return TrainingClips(
        source=_maybe_pasted(source, settings),
        transform=build_augmentation(settings.augmentation, absent=settings.absent),
        min_instances=settings.min_instances,
        strict=settings.strict,
    )


def _image_part(files: DatasetFiles, settings: ClipSettings) -> TrainingClips:
    """Images get no photometric distortion: copies have changed colours already, single images are published so."""
    source = ImageDataset(
        annotation_file=files.annotations,
        image_folder=files.frames,
        num_frames=settings.num_frames * settings.windows,
        category_map=read_category_map(files.category_map, settings.category_map) if files.category_map else None,
        cache_megabytes=settings.cache_megabytes,
    )
    augmentation = dataclasses.replace(settings.augmentation, photometric=False)
    return TrainingClips(
        source=_maybe_pasted(source, settings),
        transform=build_augmentation(augmentation, absent="zero_box" if settings.absent == "keep" else settings.absent),
        min_instances=max(1, settings.min_instances),
        max_instances=MAX_IMAGE_INSTANCES if settings.num_frames * settings.windows > 1 else None,
        strict=settings.strict,
    )


def dataset_categories(files: DatasetFiles) -> tuple[Category, ...]:
    """The categories of a set: those of its annotation file, or the catalogue's list where the file names none."""
    listed = read_category_file(files.annotations) if files.annotations.is_file() else ()
    if not listed and files.categories is not None:
        listed = read_category_file(files.categories)
    return listed
