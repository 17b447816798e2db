"""The card of VisTR: from the configuration to network, training graph, tracker, weight rules and groups."""

from __future__ import annotations

from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.convert.rules import RuleTable
from mindvideo.convert.vistr_rules import vistr_tables
from mindvideo.data.frame_size import ShortSideResize
from mindvideo.engine.parameter_groups import ParameterGroup
from mindvideo.errors import UserError
from mindvideo.families.backbone import backbone_of
from mindvideo.families.base import Family
from mindvideo.inference.post_process import SlotRunner
from mindvideo.inference.windows import WindowTracker
from mindvideo.losses.criterion import SequenceCriterion, TermWeights
from mindvideo.matching.sequence import SequenceMatcher
from mindvideo.models.heads.attention_mask import AttentionMap, FrameMaskHead, SequenceMaskHead
from mindvideo.models.heads.class_box import ClassBoxHead
from mindvideo.models.layers.pixels import NormalizePixels
from mindvideo.models.layers.position_encoding import SinePositions3d
from mindvideo.models.layers.slot_anchors import anchor_boxes, anchor_codes
from mindvideo.models.slot_training import SlotTraining
from mindvideo.models.transformers.detr import align_queries_with_keys, build_decoder, build_encoder
from mindvideo.models.vistr import MaskBranch, SlotQueries, TokenProjection, VisTR


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
        mask_branch=build_mask_branch(cfg, backbone.channels[:num_fine]) if vistr.masks else None,
        num_fine_levels=num_fine,
        positions_in_tokens=vistr.positions_in_tokens,
    )


def build_mask_branch(cfg: ConfigDict, fine_channels: tuple[int, ...]) -> MaskBranch:
    """``fine_channels``: channels of the backbone's maps that are finer than the tokens, fine to coarse."""
    vistr = cfg.vistr
    widths = list(vistr.mask_widths) or [vistr.width // 2 ** (i + 1) for i in range(len(fine_channels))]
    channels = vistr.mask_channels or vistr.width // 16
    return MaskBranch(
        attention_map=AttentionMap(width=vistr.width, heads=vistr.heads),
        frame_head=FrameMaskHead(
            width=vistr.width,
            heads=vistr.heads,
            widths=widths,
            fine_channels=fine_channels[::-1],
            out_channels=channels,
        ),
        sequence_head=SequenceMaskHead(in_channels=channels, width=channels // 2),
        maps_per_portion=vistr.maps_per_portion,
    )


def check(cfg: ConfigDict) -> None:
    """What no single key can say."""
    vistr = cfg.vistr
    if vistr.width % 6 or vistr.width % vistr.heads:
        raise UserError(
            f"vistr.width is {vistr.width}; it must be a multiple of 6 (sines and cosines of three axes) and of "
            f"vistr.heads, {vistr.heads}"
        )
    if vistr.slot_anchors:
        rows_and_columns = tuple(vistr.slot_anchors)
        if len(rows_and_columns) != 2 or rows_and_columns[0] * rows_and_columns[1] != vistr.num_slots:
            raise UserError(
                f"vistr.slot_anchors is {list(rows_and_columns)}; it must be rows and columns with rows * columns = "
                f"vistr.num_slots, {vistr.num_slots}"
            )
    num_fine = len(vistr.levels) - vistr.token_levels
    if list(vistr.levels) != sorted(set(vistr.levels)) or num_fine < (1 if vistr.masks else 0):
        raise UserError(
            f"vistr.levels is {list(vistr.levels)} and vistr.token_levels {vistr.token_levels}: levels must rise, and "
            "with masks at least one must be left besides those that become tokens"
        )
    if vistr.masks and vistr.mask_widths and len(vistr.mask_widths) != num_fine:
        raise UserError(
            f"vistr.mask_widths has {len(vistr.mask_widths)} numbers; it needs one for each of the {num_fine} levels "
            "that are finer than the tokens, or none at all"
        )


def build_training(cfg: ConfigDict, network: VisTR, reduce_count: nn.Cell) -> SlotTraining:
    vistr, matcher, loss = cfg.vistr, cfg.matcher, cfg.loss
    return SlotTraining(
        pixels=NormalizePixels(),
        network=network,
        matcher=SequenceMatcher(
            class_cost=matcher.class_cost,
            box_cost=matcher.box_cost,
            iou_cost=matcher.iou_cost,
            frames=matcher.frames,
            validity=matcher.validity,
        ),
        criterion=SequenceCriterion(
            num_classes=vistr.num_classes,
            num_layers=vistr.decoder_layers if loss.aux_layers else 1,
            weights=TermWeights(
                ce=loss.class_weight,
                bbox=loss.box_weight,
                giou=loss.giou_weight,
                mask=loss.mask_weight,
                dice=loss.dice_weight,
            ),
            no_object_weight=loss.no_object_weight,
            reduce_count=reduce_count,
            has_masks=vistr.masks,
            focal_alpha=loss.focal_alpha,
            focal_gamma=loss.focal_gamma,
            mask_stride=loss.mask_stride,
            empty_frames=loss.empty_frames,
        ),
        has_masks=vistr.masks,
    )


def build_tracker(cfg: ConfigDict, network: VisTR) -> WindowTracker:
    vistr, inference = cfg.vistr, cfg.inference
    if not vistr.masks:
        raise UserError("vistr.masks is false: a box model has no masks to give; set vistr.masks=true")
    return WindowTracker(
        runner=SlotRunner(network=network, pixels=NormalizePixels()),
        num_frames=vistr.num_frames,
        resize=ShortSideResize(short_side=inference.short_side, long_side=inference.long_side),
        overlap=inference.window_overlap,
        least_similarity=inference.link_similarity,
    )


def weight_rules(cfg: ConfigDict) -> list[RuleTable]:
    return vistr_tables(has_masks=cfg.vistr.masks)


def parameter_groups(cfg: ConfigDict) -> list[ParameterGroup]:
    optimizer = cfg.optimizer
    return [
        ParameterGroup("backbone", r"backbone\.", optimizer.backbone_learning_rate, optimizer.weight_decay),
        ParameterGroup("rest", r".*", optimizer.learning_rate, optimizer.weight_decay),
    ]


FAMILY = Family(
    name="vistr",
    build_network=build_network,
    build_training=build_training,
    build_tracker=build_tracker,
    weight_rules=weight_rules,
    parameter_groups=parameter_groups,
)
