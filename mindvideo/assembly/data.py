"""Section ``data``: from names and settings to the training data set and the labelled set that is evaluated."""

from __future__ import annotations

from collections.abc import Mapping

from ml_collections import ConfigDict

from mindvideo.assembly.training_sets import (
    class_names_of,
    first_frames,
    refuse_shared_videos,
    refuse_unknown_classes,
)
from mindvideo.data.clips.assemble import ClipSettings, training_clips
from mindvideo.data.clips.training import JointClips, TrainingClips
from mindvideo.data.clips.video_dataset import VideoDataset
from mindvideo.data.feed.batch import Canvas, Collate
from mindvideo.data.feed.loader import load_loader
from mindvideo.data.labels.catalogue import Catalogue, DatasetFiles
from mindvideo.data.transforms.pipelines import AugmentationSettings
from mindvideo.errors import UserError
from mindvideo.models.registry import card_of, reads_of
from mindvideo.training.distributed import Ranks
from mindvideo.training.trainer import TrainingData


def build_catalogue(cfg: ConfigDict) -> Catalogue:
    data = cfg.data
    return Catalogue(file=data.catalogue, root=data.root)


def labelled_set(cfg: ConfigDict) -> DatasetFiles:
    """The files of the set that evaluation uses; both must exist."""
    return build_catalogue(cfg).find(cfg.data.valid).require()


def clip_settings(cfg: ConfigDict) -> ClipSettings:
    data = cfg.data
    augmentation = AugmentationSettings(
        name=data.augmentation,
        short_sides=tuple(data.short_sides),
        max_long_side=data.max_long_side,
        first_short_sides=tuple(data.first_short_sides),
        first_max_long_side=data.first_max_long_side,
        crop_short_sides=tuple(data.crop_short_sides),
        crop_range=tuple(data.crop_range),
        photometric=data.photometric,
        photometric_wrap=data.photometric_wrap,
        rotation=data.rotation,
    )
    return ClipSettings(
        num_frames=data.num_frames,
        pasted_share=data.pasted_share,
        windows=data.windows if "windows" in reads_of(cfg.family).get("data", ()) else 1,
        clip_rule=data.clip_rule,
        repeat_last_frame=data.repeat_last_frame,
        samples_per=data.samples_per,
        augmentation=augmentation,
        absent=data.absent,
        min_instances=data.min_instances,
        category_map=data.category_map,
        cache_megabytes=data.cache_megabytes,
        strict=data.strict,
    )


def build_training_data(cfg: ConfigDict, ranks: Ranks = Ranks()) -> TrainingData:  # noqa: B008  (frozen)
    """This rank's share of the training clips, batched, padded and ready for the trainer."""
    data, runtime = cfg.data, cfg.runtime
    if not data.train:
        raise UserError("data.train is empty: name a set to learn from, for instance data.train=[ytvis19/train]")
    catalogue = build_catalogue(cfg)
    files = {name: catalogue.find(name).require() for name in data.train}
    clips = training_clips(data.train, catalogue=catalogue, settings=clip_settings(cfg))
    check_training_sets(cfg, files, clips)
    dataset = load_loader(
        clips,
        collate=Collate(
            canvas=Canvas(buckets=[tuple(bucket) for bucket in data.buckets]),
            max_instances=data.max_instances,
            box_minimum=data.box_minimum,
            mask_stride=card_of(cfg.family).mask_stride(cfg),
        ),
        batch_size=data.batch_size,
        seed=runtime.seed,
        num_workers=data.workers,
        shard=(ranks.rank, ranks.world_size),
    )
    source = dataset.batch_source
    return TrainingData(
        dataset=dataset,
        batches_per_epoch=source.order.batches_per_epoch,
        seek=source.seek,
        class_names=class_names_of(list(files.values())),
    )


def check_training_sets(cfg: ConfigDict, files: Mapping[str, DatasetFiles], clips: TrainingClips | JointClips) -> None:
    """UserError where the sets and the model do not go together, or a validation would be of what was learned."""
    data, train = cfg.data, cfg.train
    sources = [part.source for part in (clips.parts if isinstance(clips, JointClips) else [clips])]
    refuse_unknown_classes(
        {name: source.category_ids() for name, source in zip(files, sources)}, num_classes=data.num_classes
    )
    if train.evaluate:
        learned = {
            name: first_frames(files[name], source.annotations)
            for name, source in zip(files, sources)
            if isinstance(source, VideoDataset)
        }
        refuse_shared_videos(learned, labelled_set(cfg))
