"""What no single key of InstanceFormer's section can say."""

from __future__ import annotations

from ml_collections import ConfigDict

from mindvideo.errors import UserError
from mindvideo.families.backbone import strides_of
from mindvideo.models.heads.dynamic_mask import MASK_CHANNEL_DIVISOR
from mindvideo.models.instanceformer import MASK_LEVELS


def check(cfg: ConfigDict) -> None:
    """UserError for settings that contradict each other."""
    instanceformer = cfg.instanceformer
    levels = len(instanceformer.backbone_levels) + instanceformer.extra_levels
    if levels < MASK_LEVELS:
        raise UserError(
            f"instanceformer.backbone_levels and extra_levels give {levels} levels; the masks need {MASK_LEVELS}"
        )
    if instanceformer.channels % MASK_CHANNEL_DIVISOR or instanceformer.channels % instanceformer.heads:
        raise UserError(
            f"instanceformer.channels is {instanceformer.channels}; it must be a multiple of {MASK_CHANNEL_DIVISOR} "
            f"and of instanceformer.heads, {instanceformer.heads}"
        )
    if instanceformer.memory_tokens and instanceformer.memory_frames < 2:
        raise UserError(
            f"instanceformer.memory_tokens is {instanceformer.memory_tokens}, so instanceformer.memory_frames must be "
            f"2 or more (the current frame counts), not {instanceformer.memory_frames}"
        )
    if instanceformer.memory_tokens and instanceformer.match_on == "clip":
        raise UserError(
            "instanceformer.match_on=clip needs instanceformer.memory_tokens=0: the memory holds the matched queries "
            "of the frames so far"
        )
    propagations = {instanceformer.reference_propagation, instanceformer.inference_propagation} - {"same"}
    if "box" in propagations and len(propagations) > 1:
        raise UserError(
            "instanceformer.inference_propagation must be 'same' where boxes are carried, and box only there"
        )
    if instanceformer.contrastive_weight and not instanceformer.memory_tokens:
        raise UserError("instanceformer.contrastive_weight needs remembered queries: set instanceformer.memory_tokens")
    cell = strides_of(cfg)[instanceformer.backbone_levels[0]]
    odd = [list(bucket) for bucket in cfg.data.buckets if any(side % cell for side in bucket)]
    if odd:
        raise UserError(f"data.buckets has {odd}: the finest map has cells of {cell} pixels, so use multiples of it")
