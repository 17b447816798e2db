"""The card of VisTR: from the configuration to network, training graph, tracker, weight rules and groups."""

from __future__ import annotations

from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.errors import UserError
from mindvideo.execution.layer_by_layer import LayerByLayer
from mindvideo.execution.slot_portions import PortionedSlots
from mindvideo.inference.trackers.windows import WindowTracker
from mindvideo.models.cards.backbone import backbone_of
from mindvideo.models.cards.groups import backbone_and_rest
from mindvideo.models.cards.slots import (
    build_mask_branch,
    check_anchors,
    check_levels,
    every_pixel,
    slot_tracker,
    slot_training,
)
from mindvideo.models.family import Family
from mindvideo.models.vistr.network import SlotQueries, TokenProjection, VisTR
from mindvideo.models.vistr.weights import vistr_tables
from mindvideo.modules.heads.class_box import ClassBoxHead
from mindvideo.modules.layers.position_encoding import SinePositions3d
from mindvideo.modules.layers.slot_anchors import anchor_boxes, anchor_codes
from mindvideo.modules.slots.training import SlotTraining
from mindvideo.modules.transformers.detr import align_queries_with_keys, build_decoder, build_encoder
from mindvideo.weights.rules import RuleTable


def build_network(cfg: ConfigDict) -> VisTR:
    vistr = cfg.vistr
    check(cfg)
    num_fine = len(vistr.levels) - vistr.token_levels
    levels = vistr.levels if vistr.masks else vistr.levels[num_fine:]
    num_fine = num_fine if vistr.masks else 0
    backbone = backbone_of(cfg, out_levels=tuple(levels))
    layer_options = {
        "width": vistr.width,
        "heads": vistr.heads,
        "ffn_width": vistr.ffn_width,
        "dropout": vistr.dropout,
        "pre_norm": vistr.pre_norm,
    }
    anchors = tuple(vistr.slot_anchors)
    start = anchor_codes(*anchors, num_frames=vistr.num_frames, width=vistr.width) if anchors else None
    mask_branch = None
    if vistr.masks:
        mask_branch = build_mask_branch(
            width=vistr.width,
            heads=vistr.heads,
            fine_channels=backbone.channels[:num_fine],
            widths=vistr.mask_widths,
            channels=vistr.mask_channels,
            unit_maps=vistr.unit_maps,
        )
    decoder = build_decoder(num_layers=vistr.decoder_layers, **layer_options)
    if anchors:
        align_queries_with_keys(decoder)
    return VisTR(
        backbone=backbone,
        token_projection=TokenProjection(in_channels=backbone.channels[num_fine:], width=vistr.width),
        positions=SinePositions3d(features=vistr.width // 3),
        encoder=build_encoder(num_layers=vistr.encoder_layers, **layer_options),
        decoder=decoder,
        queries=SlotQueries(
            num_frames=vistr.num_frames,
            num_slots=vistr.num_slots,
            width=vistr.width,
            content_from_queries=vistr.content_from_queries,
            start=start,
        ),
        head=ClassBoxHead(
            width=vistr.width,
            num_logits=vistr.num_classes + 1,
            box_anchors=anchor_boxes(*anchors) if anchors else None,
        ),
        mask_branch=mask_branch,
        num_fine_levels=num_fine,
        positions_in_tokens=vistr.positions_in_tokens,
    )


def check(cfg: ConfigDict) -> None:
    """What no single key can say."""
    vistr = cfg.vistr
    if vistr.width % 6 or vistr.width % vistr.heads:
        raise UserError(
            f"vistr.width is {vistr.width}; it must be a multiple of 6 (sines and cosines of three axes) and of "
            f"vistr.heads, {vistr.heads}"
        )
    check_anchors("vistr", anchors=vistr.slot_anchors, num_slots=vistr.num_slots)
    check_levels(
        "vistr",
        levels=vistr.levels,
        token_levels=vistr.token_levels,
        mask_widths=vistr.mask_widths,
        has_masks=vistr.masks,
    )


def build_training(cfg: ConfigDict, network: VisTR, reduce_count: nn.Cell) -> SlotTraining:
    vistr = cfg.vistr
    return slot_training(
        cfg,
        network,
        reduce_count,
        decoder_layers=vistr.decoder_layers,
        has_masks=vistr.masks,
    )


def build_tracker(cfg: ConfigDict, network: VisTR) -> WindowTracker:
    vistr = cfg.vistr
    if not vistr.masks:
        raise UserError("vistr.masks is false: a box model has no masks to give; set vistr.masks=true")
    return slot_tracker(cfg, network, portioned(cfg, network), num_frames=vistr.num_frames)


def portioned(cfg: ConfigDict, network: VisTR) -> PortionedSlots:
    """The network as it runs at inference, in bounded memory."""
    vistr = cfg.vistr
    return PortionedSlots(
        network=network,
        num_slots=vistr.num_slots,
        maps_per_portion=vistr.maps_per_portion,
        clip_stage=LayerByLayer(network),
    )


def weight_rules(cfg: ConfigDict) -> list[RuleTable]:
    return vistr_tables(has_masks=cfg.vistr.masks)


FAMILY = Family(
    name="vistr",
    build_network=build_network,
    build_training=build_training,
    mask_stride=every_pixel,
    build_tracker=build_tracker,
    weight_rules=weight_rules,
    parameter_groups=backbone_and_rest,
)
