"""The card of VisTR: from the configuration to network, training graph, tracker, weight rules and groups."""

from __future__ import annotations

from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.errors import UserError
from mindvideo.execution.portions import PortionedClip
from mindvideo.inference.trackers.windows import WindowTracker
from mindvideo.models.cards.clips import clip_tracker, clip_training, every_pixel
from mindvideo.models.cards.dense_clips import clip_parts, portioned_clip
from mindvideo.models.cards.groups import backbone_and_rest
from mindvideo.models.family import Family
from mindvideo.models.vistr.network import VisTR
from mindvideo.models.vistr.weights import vistr_tables
from mindvideo.modules.clip_training import ClipTraining
from mindvideo.weights.rules import RuleTable


def build_network(cfg: ConfigDict) -> VisTR:
    return VisTR(**clip_parts(cfg, "vistr", has_masks=cfg.vistr.masks))


def build_training(cfg: ConfigDict, network: VisTR, reduce_count: nn.Cell) -> ClipTraining:
    vistr = cfg.vistr
    return clip_training(cfg, network, reduce_count, decoder_layers=vistr.decoder_layers, has_masks=vistr.masks)


def build_tracker(cfg: ConfigDict, network: VisTR) -> WindowTracker:
    if not cfg.vistr.masks:
        raise UserError("vistr.masks is false: a box model has no masks to give; set vistr.masks=true")
    return clip_tracker(cfg, network, portioned(cfg, network))


def portioned(cfg: ConfigDict, network: VisTR) -> PortionedClip:
    return portioned_clip(cfg, "vistr", network)


def weight_rules(cfg: ConfigDict) -> list[RuleTable]:
    return vistr_tables(has_masks=cfg.vistr.masks, mask_head=cfg.vistr.mask_head)


FAMILY = Family(
    name="vistr",
    build_network=build_network,
    build_training=build_training,
    mask_stride=every_pixel,
    build_tracker=build_tracker,
    weight_rules=weight_rules,
    parameter_groups=backbone_and_rest,
)
