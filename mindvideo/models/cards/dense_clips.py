"""The cards of families whose clip is one sequence of tokens, each attending to each, share these: checks and parts."""

from __future__ import annotations

from typing import Any

from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.errors import UserError
from mindvideo.execution.layered_clip import LayeredClip
from mindvideo.execution.portions import PortionedClip
from mindvideo.models.cards.backbone import backbone_of
from mindvideo.models.cards.clips import check_anchors, check_levels, frames_at_a_time
from mindvideo.modules.clip_tokens import QueryTable, TokenProjection
from mindvideo.modules.heads.attention_mask import build_attention_mask_head
from mindvideo.modules.heads.class_box import ClassBoxHead
from mindvideo.modules.heads.dot_product_mask import build_dot_product_mask_head
from mindvideo.modules.layers.position_encoding import SinePositions3d
from mindvideo.modules.layers.query_anchors import anchor_boxes, anchor_codes
from mindvideo.modules.transformers.detr import align_queries_with_keys, build_decoder, build_encoder


def clip_parts(cfg: ConfigDict, name: str, *, has_masks: bool = True) -> dict[str, Any]:
    """The parts that section ``name`` describes, under the names by which the networks take them."""
    section = cfg[name]
    check(cfg, name, has_masks=has_masks)
    num_fine = len(section.levels) - section.token_levels
    levels = section.levels if has_masks else section.levels[num_fine:]
    num_fine = num_fine if has_masks else 0
    backbone = backbone_of(cfg, out_levels=tuple(levels))
    layer_options = {
        "width": section.width,
        "heads": section.heads,
        "hidden": section.hidden,
        "dropout": section.dropout,
        "pre_norm": section.pre_norm,
    }
    anchors = tuple(section.query_anchors)
    # The order of the parts decides which weights a seed gives.
    mask_branch = build_mask_head(cfg, name, fine_channels=backbone.channels[:num_fine]) if has_masks else None
    decoder = build_decoder(num_layers=section.decoder_layers, **layer_options)
    if anchors:
        align_queries_with_keys(decoder)
    return {
        "backbone": backbone,
        "token_projection": TokenProjection(in_channels=backbone.channels[num_fine:], width=section.width),
        "position": SinePositions3d(features=section.width // 3),
        "encoder": build_encoder(num_layers=section.encoder_layers, **layer_options),
        "decoder": decoder,
        "queries": QueryTable(
            num_frames=cfg.data.num_frames,
            num_queries=section.num_queries,
            width=section.width,
            content_from_queries=section.content_from_queries,
            start=anchor_codes(*anchors, num_frames=cfg.data.num_frames, width=section.width) if anchors else None,
        ),
        "head": ClassBoxHead(
            width=section.width,
            num_logits=cfg.data.num_classes + 1,
            box_anchors=anchor_boxes(*anchors) if anchors else None,
        ),
        "mask_branch": mask_branch,
        "num_fine_levels": num_fine,
        "position_in_tokens": section.position_in_tokens,
    }


def build_mask_head(cfg: ConfigDict, name: str, *, fine_channels: tuple[int, ...]) -> nn.Cell:
    """``fine_channels``: channels of the backbone's maps that are finer than the tokens, fine to coarse."""
    section = cfg[name]
    if section.mask_head == "dot_product":
        return build_dot_product_mask_head(
            width=section.width, fine_channels=fine_channels, channels=section.mask_channels
        )
    return build_attention_mask_head(
        width=section.width,
        heads=section.heads,
        fine_channels=fine_channels,
        widths=section.mask_widths,
        channels=section.mask_channels,
        unit_maps=section.unit_maps,
    )


def check(cfg: ConfigDict, name: str, *, has_masks: bool) -> None:
    """Refuse settings that contradict each other, which no single key can say."""
    section = cfg[name]
    if section.width % 6 or section.width % section.heads:
        raise UserError(
            f"{name}.width is {section.width}; it must be a multiple of 6 (sines and cosines of three axes) and of "
            f"{name}.heads, {section.heads}"
        )
    check_anchors(name, anchors=section.query_anchors, num_queries=section.num_queries)
    check_levels(
        name,
        levels=section.levels,
        token_levels=section.token_levels,
        mask_widths=section.mask_widths if section.mask_head == "attention" else [],
        has_masks=has_masks,
    )


def portioned_clip(cfg: ConfigDict, name: str, network: nn.Cell, *, more: tuple[str, ...] = ()) -> PortionedClip:
    """The network as it runs at inference, in bounded memory; ``more``: what it gives besides, by name."""
    section = cfg[name]
    return PortionedClip(
        network=network,
        frames_at_a_time=frames_at_a_time(maps_per_portion=section.maps_per_portion, num_queries=section.num_queries),
        clip_stage=LayeredClip(network, more=more),
        more=more,
    )
