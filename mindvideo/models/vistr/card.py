"""The card of VisTR: from the configuration to network, training graph, tracker, weight rules and groups."""

from __future__ import annotations

from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.errors import UserError
from mindvideo.execution.portions import PortionedClip
from mindvideo.inference.trackers.windows import WindowTracker
from mindvideo.models.cards.backbone import backbone_of
from mindvideo.models.cards.clips import (
    check_anchors,
    check_levels,
    clip_tracker,
    clip_training,
    every_pixel,
    frames_at_a_time,
)
from mindvideo.models.cards.groups import backbone_and_rest
from mindvideo.models.family import Family
from mindvideo.models.vistr.inference import LayeredVisTR
from mindvideo.models.vistr.network import QueryTable, TokenProjection, VisTR
from mindvideo.models.vistr.weights import vistr_tables
from mindvideo.modules.clip_training import ClipTraining
from mindvideo.modules.heads.attention_mask import build_attention_mask_head
from mindvideo.modules.heads.class_box import ClassBoxHead
from mindvideo.modules.heads.dot_product_mask import build_dot_product_mask_head
from mindvideo.modules.layers.position_encoding import SinePositions3d
from mindvideo.modules.layers.query_anchors import anchor_boxes, anchor_codes
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
        "hidden": vistr.hidden,
        "dropout": vistr.dropout,
        "pre_norm": vistr.pre_norm,
    }
    anchors = tuple(vistr.query_anchors)
    # The order of the parts decides which weights a seed gives.
    mask_branch = build_mask_head(cfg, fine_channels=backbone.channels[:num_fine]) if vistr.masks else None
    decoder = build_decoder(num_layers=vistr.decoder_layers, **layer_options)
    if anchors:
        align_queries_with_keys(decoder)
    return VisTR(
        backbone=backbone,
        token_projection=TokenProjection(in_channels=backbone.channels[num_fine:], width=vistr.width),
        position=SinePositions3d(features=vistr.width // 3),
        encoder=build_encoder(num_layers=vistr.encoder_layers, **layer_options),
        decoder=decoder,
        queries=QueryTable(
            num_frames=cfg.data.num_frames,
            num_queries=vistr.num_queries,
            width=vistr.width,
            content_from_queries=vistr.content_from_queries,
            start=anchor_codes(*anchors, num_frames=cfg.data.num_frames, width=vistr.width) if anchors else None,
        ),
        head=ClassBoxHead(
            width=vistr.width,
            num_logits=cfg.data.num_classes + 1,
            box_anchors=anchor_boxes(*anchors) if anchors else None,
        ),
        mask_branch=mask_branch,
        num_fine_levels=num_fine,
        position_in_tokens=vistr.position_in_tokens,
    )


def build_mask_head(cfg: ConfigDict, *, fine_channels: tuple[int, ...]) -> nn.Cell:
    """``fine_channels``: channels of the backbone's maps that are finer than the tokens, fine to coarse."""
    vistr = cfg.vistr
    if vistr.mask_head == "dot_product":
        return build_dot_product_mask_head(width=vistr.width, fine_channels=fine_channels, channels=vistr.mask_channels)
    return build_attention_mask_head(
        width=vistr.width,
        heads=vistr.heads,
        fine_channels=fine_channels,
        widths=vistr.mask_widths,
        channels=vistr.mask_channels,
        unit_maps=vistr.unit_maps,
    )


def check(cfg: ConfigDict) -> None:
    """Refuse settings that contradict each other, which no single key can say."""
    vistr = cfg.vistr
    if vistr.width % 6 or vistr.width % vistr.heads:
        raise UserError(
            f"vistr.width is {vistr.width}; it must be a multiple of 6 (sines and cosines of three axes) and of "
            f"vistr.heads, {vistr.heads}"
        )
    check_anchors("vistr", anchors=vistr.query_anchors, num_queries=vistr.num_queries)
    check_levels(
        "vistr",
        levels=vistr.levels,
        token_levels=vistr.token_levels,
        mask_widths=vistr.mask_widths if vistr.mask_head == "attention" else [],
        has_masks=vistr.masks,
    )


def build_training(cfg: ConfigDict, network: VisTR, reduce_count: nn.Cell) -> ClipTraining:
    vistr = cfg.vistr
    return clip_training(cfg, network, reduce_count, decoder_layers=vistr.decoder_layers, has_masks=vistr.masks)


def build_tracker(cfg: ConfigDict, network: VisTR) -> WindowTracker:
    if not cfg.vistr.masks:
        raise UserError("vistr.masks is false: a box model has no masks to give; set vistr.masks=true")
    return clip_tracker(cfg, network, portioned(cfg, network))


def portioned(cfg: ConfigDict, network: VisTR) -> PortionedClip:
    """The network as it runs at inference, in bounded memory."""
    vistr = cfg.vistr
    return PortionedClip(
        network=network,
        frames_at_a_time=frames_at_a_time(maps_per_portion=vistr.maps_per_portion, num_queries=vistr.num_queries),
        clip_stage=LayeredVisTR(network),
    )


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
