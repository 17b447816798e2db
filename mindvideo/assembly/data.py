"""Section ``data``: from names and settings to the training data set and the labelled set that is evaluated."""

from __future__ import annotations

from ml_collections import ConfigDict

from mindvideo.data.clips.assemble import ClipSettings, training_clips
from mindvideo.data.feed.batch import Canvas, Collate
from mindvideo.data.feed.loader import load_loader
from mindvideo.data.labels.catalogue import Catalogue, DatasetFiles
from mindvideo.data.transforms.pipelines import AugmentationSettings
from mindvideo.models.registry import card_of
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
    )
    return ClipSettings(
        num_frames=data.num_frames,
        clip_rule=data.clip_rule,
        repeat_last_frame=data.repeat_last_frame,
        samples_per=data.samples_per,
        augmentation=augmentation,
        absent=data.absent,
        least_instances=data.min_instances,
        category_map=data.category_map,
        cache_megabytes=data.cache_megabytes,
        strict=data.strict,
    )


def build_training_data(cfg: ConfigDict, ranks: Ranks = Ranks()) -> TrainingData:  # noqa: B008  (frozen)
    """This rank's share of the training clips, batched, padded and ready for the trainer."""
    data, runtime = cfg.data, cfg.runtime
    dataset = load_loader(
        training_clips(data.train, catalogue=build_catalogue(cfg), settings=clip_settings(cfg)),
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
    return TrainingData(dataset=dataset, batches_per_epoch=source.order.batches_per_epoch, seek=source.seek)
