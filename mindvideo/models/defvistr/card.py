"""The card of Deformable VisTR: from the configuration to network, training graph, tracker, weight rules, groups."""

from __future__ import annotations

import numpy as np
from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.errors import UserError
from mindvideo.execution.slot_portions import PortionedSlots
from mindvideo.inference.trackers.windows import WindowTracker
from mindvideo.models.cards.backbone import backbone_of
from mindvideo.models.cards.groups import backbone_offsets_and_rest
from mindvideo.models.cards.slots import (
    build_mask_branch,
    check_anchors,
    check_levels,
    every_pixel,
    slot_tracker,
    slot_training,
)
from mindvideo.models.defvistr.network import DeformableVisTR, FrameTokens, SlotTokens
from mindvideo.models.defvistr.weights import defvistr_tables
from mindvideo.models.family import Family
from mindvideo.modules.layers.position_encoding import SinePositions2d, SinePositions3d
from mindvideo.modules.layers.slot_anchors import anchor_centres
from mindvideo.modules.slots.training import SlotTraining
from mindvideo.modules.transformers.clip_decoder import build_slot_decoder
from mindvideo.modules.transformers.deformable_clip_decoder import build_deformable_clip_decoder
from mindvideo.modules.transformers.deformable_encoder import build_deformable_encoder
from mindvideo.weights.rules import RuleTable


def build_network(cfg: ConfigDict) -> DeformableVisTR:
    defvistr = cfg.defvistr
    check(cfg)
    backbone = backbone_of(cfg, out_levels=tuple(defvistr.levels))
    num_fine = len(defvistr.levels) - defvistr.token_levels
    slot_tokens = None
    if defvistr.tokens_per_slot:
        slot_tokens = SlotTokens(
            num_slots=defvistr.num_slots,
            tokens_per_slot=defvistr.tokens_per_slot,
            width=defvistr.width,
            positions=SinePositions2d(features=defvistr.width // 2),
        )
    return DeformableVisTR(
        backbone=backbone,
        frame_tokens=FrameTokens(
            in_channels=backbone.channels[num_fine:],
            width=defvistr.width,
            positions=SinePositions3d(features=defvistr.width // 3),
        ),
        slot_tokens=slot_tokens,
        encoder=build_deformable_encoder(
            num_layers=defvistr.encoder_layers,
            width=defvistr.width,
            heads=defvistr.heads,
            num_levels=defvistr.num_frames * defvistr.token_levels + (1 if slot_tokens else 0),
            points=defvistr.points,
            hidden=defvistr.encoder_ffn_width,
            dropout=defvistr.dropout,
        ),
        decoder=build_decoder(cfg),
        mask_branch=build_mask_branch(
            width=defvistr.width,
            heads=defvistr.heads,
            fine_channels=backbone.channels[:num_fine],
            widths=defvistr.mask_widths,
            channels=defvistr.mask_channels,
            unit_maps=defvistr.unit_maps,
        ),
        num_fine_levels=num_fine,
    )


def build_decoder(cfg: ConfigDict) -> nn.Cell:
    defvistr, runtime = cfg.defvistr, cfg.runtime
    options = {
        "num_layers": defvistr.decoder_layers,
        "width": defvistr.width,
        "heads": defvistr.heads,
        "ffn_width": defvistr.decoder_ffn_width,
        "dropout": defvistr.dropout,
        "num_logits": defvistr.num_classes + 1,
        "num_slots": defvistr.num_slots,
        "num_frames": defvistr.num_frames,
    }
    if defvistr.decoder == "dense":
        return build_slot_decoder(slot_order=defvistr.query_layout == "instance", **options)
    start = np.random.default_rng(runtime.seed).uniform(0.05, 0.95, (defvistr.num_slots, 2))
    if defvistr.slot_anchors:
        start = anchor_centres(*defvistr.slot_anchors)
    return build_deformable_clip_decoder(
        levels_per_frame=defvistr.token_levels, points=defvistr.decoder_points, reference_start=start, **options
    )


def check(cfg: ConfigDict) -> None:
    """What no single key can say."""
    defvistr = cfg.defvistr
    if defvistr.width % 12 or defvistr.width % defvistr.heads:
        raise UserError(
            f"defvistr.width is {defvistr.width}; it must be a multiple of 12 (sine codes of two and of three axes) "
            f"and of defvistr.heads, {defvistr.heads}"
        )
    if defvistr.decoder == "dense" and not defvistr.tokens_per_slot:
        raise UserError(
            "defvistr.tokens_per_slot is 0, but decoder: dense tells the slots apart by their tokens alone; "
            "set it to 1 or more, or choose decoder: deformable"
        )
    check_levels(
        "defvistr", levels=defvistr.levels, token_levels=defvistr.token_levels, mask_widths=defvistr.mask_widths
    )
    check_anchors("defvistr", anchors=defvistr.slot_anchors, num_slots=defvistr.num_slots)


def build_training(cfg: ConfigDict, network: DeformableVisTR, reduce_count: nn.Cell) -> SlotTraining:
    defvistr = cfg.defvistr
    return slot_training(cfg, network, reduce_count, decoder_layers=defvistr.decoder_layers)


def build_tracker(cfg: ConfigDict, network: DeformableVisTR) -> WindowTracker:
    defvistr = cfg.defvistr
    portioned = PortionedSlots(
        network=network, num_slots=defvistr.num_slots, maps_per_portion=defvistr.maps_per_portion
    )
    return slot_tracker(cfg, network, portioned, num_frames=defvistr.num_frames)


def weight_rules(cfg: ConfigDict) -> list[RuleTable]:
    return defvistr_tables()


FAMILY = Family(
    name="defvistr",
    build_network=build_network,
    build_training=build_training,
    mask_stride=every_pixel,
    build_tracker=build_tracker,
    weight_rules=weight_rules,
    parameter_groups=backbone_offsets_and_rest,
)
