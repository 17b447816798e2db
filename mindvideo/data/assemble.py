"""From names and settings to training clips: the one place that knows which parts go together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mindvideo.data.catalogue import Catalogue, DatasetFiles
from mindvideo.data.clip_rules import CLIP_RULES
from mindvideo.data.training_clips import JointClips, TrainingClips
from mindvideo.data.transforms.pipelines import AugmentationSettings, build_augmentation
from mindvideo.data.video_dataset import VideoDataset


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """How samples are made of the sets; the names and meanings are those of section ``data`` of the configuration."""

    num_frames: int
    clip_rule: str = "consecutive"
    samples_per: str = "frame"
    augmentation: AugmentationSettings = dataclasses.field(default_factory=AugmentationSettings)
    drop_absent: bool = True
    cache_megabytes: int = 0
    strict: bool = False


def training_clips(names: Sequence[str], *, catalogue: Catalogue, settings: ClipSettings) -> TrainingClips | JointClips:
    """Clips of one or several sets of the catalogue, transformed and ready for the loader."""
    parts = [_video_part(catalogue.find(name).require(), settings) for name in names]
    return parts[0] if len(parts) == 1 else JointClips(parts=parts)


def _video_part(files: DatasetFiles, settings: ClipSettings) -> TrainingClips:
    source = VideoDataset(
        annotation_file=files.annotations,
        frame_folder=files.frames,
        clip_rule=CLIP_RULES[settings.clip_rule](num_frames=settings.num_frames),
        samples_per=settings.samples_per,
        cache_megabytes=settings.cache_megabytes,
    )
    return TrainingClips(
        source=source,
        transform=build_augmentation(settings.augmentation, drop_absent=settings.drop_absent),
        least_instances=1 if settings.drop_absent else 0,
        strict=settings.strict,
    )
