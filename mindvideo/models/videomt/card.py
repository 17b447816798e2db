"""The card of VidEoMT: from the configuration to network, training graph, tracker, weight rules and groups."""

from __future__ import annotations

from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.inference.trackers.video_pairs import VideoPairsTracker
from mindvideo.models.cards.lives import life_rules
from mindvideo.models.family import Family
from mindvideo.models.videomt.groups import parameter_groups
from mindvideo.models.videomt.inference import RoundedResize, VidEoMTStep
from mindvideo.models.videomt.network import VidEoMT
from mindvideo.models.videomt.parts import build_network, table_grid
from mindvideo.models.videomt.training import VidEoMTTraining
from mindvideo.models.videomt.weights import videomt_tables
from mindvideo.modules.layers.pixels import NormalizePixels
from mindvideo.modules.losses.criterion import Criterion, LossTerm
from mindvideo.modules.losses.own import own_terms
from mindvideo.modules.losses.point_sampling import MaskPoints
from mindvideo.modules.losses.point_terms import cross_entropy_at_points, dice_at_points
from mindvideo.modules.losses.terms import softmax_classes
from mindvideo.modules.matching.first_appearance import FirstAppearanceMatcher
from mindvideo.weights.rules import RuleTable


def build_training(cfg: ConfigDict, network: VidEoMT, reduce_count: nn.Cell) -> VidEoMTTraining:
    videomt, loss = cfg.videomt, cfg.loss
    no_object = {"no_object_weight": loss.no_object_weight}
    criterion = Criterion(
        terms=(
            LossTerm("loss_ce", softmax_classes, loss.class_weight, per="none", options=no_object),
            LossTerm("loss_mask", cross_entropy_at_points, loss.mask_weight),
            LossTerm("loss_dice", dice_at_points, loss.dice_weight),
            *own_terms(loss.own_terms),
        ),
        num_layers=videomt.query_blocks,
        reduce_count=reduce_count,
        min_count="frame",
    )
    return VidEoMTTraining(
        network=network,
        pixels=NormalizePixels(),
        matcher=FirstAppearanceMatcher(
            class_weight=cfg.matcher.class_cost, mask_weight=videomt.mask_cost, dice_weight=videomt.dice_cost
        ),
        points=MaskPoints(num_points=videomt.num_points),
        criterion=criterion,
        absent_as_positive=videomt.absent_as_positive,
    )


def mask_stride(cfg: ConfigDict) -> int:  # noqa: ARG001
    """Points lie anywhere, so the loss takes the masks pixel by pixel."""
    return 1


def build_tracker(cfg: ConfigDict, network: VidEoMT) -> VideoPairsTracker:
    videomt, inference = cfg.videomt, cfg.inference
    network.set_train(False)
    return VideoPairsTracker(
        step=VidEoMTStep(network=network, pixels=NormalizePixels(), divisor=videomt.size_divisor),
        resize=RoundedResize(short_side=inference.short_side, long_side=inference.long_side, square=videomt.square),
        max_tracks=videomt.max_tracks,
        max_frames=videomt.max_frames,
        rules=life_rules(cfg),
    )


def weight_rules(cfg: ConfigDict) -> list[RuleTable]:
    """The published checkpoints of this family, or a DINO backbone to start from."""
    videomt = cfg.videomt
    return videomt_tables(
        backbone=videomt.backbone,
        query_blocks=videomt.query_blocks,
        grid=table_grid(cfg),
        patch_size=videomt.patch_size,
    )


FAMILY = Family(
    name="videomt",
    build_network=build_network,
    build_training=build_training,
    mask_stride=mask_stride,
    build_tracker=build_tracker,
    weight_rules=weight_rules,
    parameter_groups=parameter_groups,
)
