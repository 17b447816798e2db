"""The card of Deformable VisTR: from the configuration to network, training graph, tracker, weight rules, groups."""

from __future__ import annotations

import numpy as np
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
from mindvideo.models.cards.groups import backbone_offsets_and_rest
from mindvideo.models.defvistr.network import DeformableVisTR, FrameTokens, QueryTokens
from mindvideo.models.defvistr.weights import defvistr_tables
from mindvideo.models.family import Family
from mindvideo.modules.clip_training import ClipTraining
from mindvideo.modules.heads.attention_mask import build_attention_mask_head
from mindvideo.modules.layers.position_encoding import SinePositions2d, SinePositions3d
from mindvideo.modules.layers.query_anchors import anchor_centres
from mindvideo.modules.transformers.clip_decoder import build_clip_decoder
from mindvideo.modules.transformers.deformable_clip_decoder import build_deformable_clip_decoder
from mindvideo.modules.transformers.deformable_encoder import build_deformable_encoder
from mindvideo.weights.rules import RuleTable


def build_network(cfg: ConfigDict) -> DeformableVisTR:
    defvistr, data = cfg.defvistr, cfg.data
    check(cfg)
    backbone = backbone_of(cfg, out_levels=tuple(defvistr.levels))
    num_fine = len(defvistr.levels) - defvistr.token_levels
    query_tokens = None
    if defvistr.tokens_per_query:
        query_tokens = QueryTokens(
            num_queries=defvistr.num_queries,
            tokens_per_query=defvistr.tokens_per_query,
            width=defvistr.width,
            position=SinePositions2d(features=defvistr.width // 2),
        )
    return DeformableVisTR(
        backbone=backbone,
        frame_tokens=FrameTokens(
            in_channels=backbone.channels[num_fine:],
            width=defvistr.width,
            position=SinePositions3d(features=defvistr.width // 3),
        ),
        query_tokens=query_tokens,
        encoder=build_deformable_encoder(
            num_layers=defvistr.encoder_layers,
            width=defvistr.width,
            heads=defvistr.heads,
            num_levels=data.num_frames * defvistr.token_levels + (1 if query_tokens else 0),
            points=defvistr.points,
            hidden=defvistr.encoder_hidden,
            dropout=defvistr.dropout,
        ),
        decoder=build_decoder(cfg),
        mask_branch=build_attention_mask_head(
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
    defvistr, data, runtime = cfg.defvistr, cfg.data, cfg.runtime
    options = {
        "num_layers": defvistr.decoder_layers,
        "width": defvistr.width,
        "heads": defvistr.heads,
        "hidden": defvistr.decoder_hidden,
        "dropout": defvistr.dropout,
        "num_logits": data.num_classes + 1,
        "num_queries": defvistr.num_queries,
        "num_frames": data.num_frames,
    }
    if defvistr.decoder == "dense":
        return build_clip_decoder(released_order=defvistr.query_layout == "released", **options)
    start = np.random.default_rng(runtime.seed).uniform(0.05, 0.95, (defvistr.num_queries, 2))
    if defvistr.query_anchors:
        start = anchor_centres(*defvistr.query_anchors)
    return build_deformable_clip_decoder(
        levels_per_frame=defvistr.token_levels, points=defvistr.decoder_points, reference_start=start, **options
    )


def check(cfg: ConfigDict) -> None:
    """Refuse settings that contradict each other, which no single key can say."""
    defvistr = cfg.defvistr
    if defvistr.width % 12 or defvistr.width % defvistr.heads:
        raise UserError(
            f"defvistr.width is {defvistr.width}; it must be a multiple of 12 (sine codes of two and of three axes) "
            f"and of defvistr.heads, {defvistr.heads}"
        )
    if defvistr.decoder == "dense" and not defvistr.tokens_per_query:
        raise UserError(
            "defvistr.tokens_per_query is 0, but decoder: dense tells the queries apart by their tokens only; "
            "set it to 1 or more, or choose decoder: deformable"
        )
    check_levels(
        "defvistr", levels=defvistr.levels, token_levels=defvistr.token_levels, mask_widths=defvistr.mask_widths
    )
    check_anchors("defvistr", anchors=defvistr.query_anchors, num_queries=defvistr.num_queries)


def build_training(cfg: ConfigDict, network: DeformableVisTR, reduce_count: nn.Cell) -> ClipTraining:
    return clip_training(cfg, network, reduce_count, decoder_layers=cfg.defvistr.decoder_layers)


def build_tracker(cfg: ConfigDict, network: DeformableVisTR) -> WindowTracker:
    defvistr = cfg.defvistr
    portioned = PortionedClip(
        network=network,
        frames_at_a_time=frames_at_a_time(maps_per_portion=defvistr.maps_per_portion, num_queries=defvistr.num_queries),
    )
    return clip_tracker(cfg, network, portioned)


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
