"""The cards of families whose queries have a class, a box and a mask in each frame of a clip share this."""

from __future__ import annotations

from collections.abc import Sequence

from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.data.media.frame_size import ShortSideResize
from mindvideo.errors import UserError
from mindvideo.execution.portions import PortionedClip
from mindvideo.inference.post_process import FrameClassRunner
from mindvideo.inference.scoring.track_scores import VoteByFrame
from mindvideo.inference.trackers.windows import WindowTracker
from mindvideo.models.cards.linking import linking_of
from mindvideo.models.cards.lives import life_rules
from mindvideo.modules.clip_training import ClipTraining
from mindvideo.modules.layers.pixels import NormalizePixels
from mindvideo.modules.losses import terms
from mindvideo.modules.losses.criterion import Criterion, LossTerm
from mindvideo.modules.losses.own import own_terms
from mindvideo.modules.matching import costs
from mindvideo.modules.matching.matcher import CostTerm, Matcher

# PARITY(vistr): added to numerator and denominator of an IoU, see mindvideo/ops/boxes.py.
IOU_EPS = 1e-6


def every_pixel(cfg: ConfigDict) -> int:
    """The mask stride: the losses of these families compare masks pixel by pixel."""
    return 1


def check_levels(
    section: str, *, levels: Sequence[int], token_levels: int, mask_widths: Sequence[int], has_masks: bool = True
) -> None:
    """Which maps of the backbone become tokens and which serve the masks: settings that must fit each other."""
    num_fine = len(levels) - token_levels
    if list(levels) != sorted(set(levels)) or num_fine < (1 if has_masks else 0):
        raise UserError(
            f"{section}.levels is {list(levels)} and {section}.token_levels {token_levels}: levels must rise, and with "
            "masks at least one must be left besides those that become tokens"
        )
    if has_masks and mask_widths and len(mask_widths) != num_fine:
        raise UserError(
            f"{section}.mask_widths has {len(mask_widths)} numbers; it needs one for each of the {num_fine} levels "
            "that are finer than the tokens, or none at all"
        )


def check_anchors(section: str, *, anchors: Sequence[int], num_queries: int) -> None:
    if anchors and (len(anchors) != 2 or anchors[0] * anchors[1] != num_queries):
        raise UserError(
            f"{section}.query_anchors is {list(anchors)}; it must be rows and columns with rows * columns = "
            f"{section}.num_queries, {num_queries}"
        )


def clip_training(
    cfg: ConfigDict, network: nn.Cell, reduce_count: nn.Cell, *, decoder_layers: int, has_masks: bool = True
) -> ClipTraining:
    return ClipTraining(
        pixels=NormalizePixels(),
        network=network,
        matcher=clip_matcher(cfg),
        criterion=clip_criterion(cfg, reduce_count, decoder_layers=decoder_layers, has_masks=has_masks),
    )


def clip_matcher(cfg: ConfigDict) -> Matcher:
    return Matcher(terms=cost_table(cfg), frames=cfg.matcher.frames)


def clip_criterion(
    cfg: ConfigDict,
    reduce_count: nn.Cell,
    *,
    decoder_layers: int,
    has_masks: bool = True,
    more_terms: Sequence[LossTerm] = (),
) -> Criterion:
    """``more_terms``: those that a family has besides."""
    return Criterion(
        terms=[*loss_table(cfg, has_masks=has_masks), *more_terms],
        num_layers=decoder_layers if cfg.loss.aux_layers else 1,
        reduce_count=reduce_count,
        supervised="released" if cfg.matcher.validity == "released" else "present",
        min_count="frame",
        mask_stride=cfg.loss.mask_stride,
    )


def cost_table(cfg: ConfigDict) -> list[CostTerm]:
    matcher = cfg.matcher
    return [
        CostTerm("class", costs.softmax_class, matcher.class_cost),
        # PARITY(vistr): the mean of the coordinates, not their sum, and the plain IoU, not the generalised one.
        CostTerm("box", costs.l1_box, matcher.box_cost),
        CostTerm("iou", costs.iou_box, matcher.iou_cost, {"eps": IOU_EPS}),
    ]


def loss_table(cfg: ConfigDict, *, has_masks: bool) -> list[LossTerm]:
    loss = cfg.loss
    no_object = {"no_object_weight": loss.no_object_weight}
    table = [
        LossTerm("loss_ce", terms.softmax_classes, loss.class_weight, per="none", options=no_object),
        LossTerm("loss_bbox", terms.l1_boxes, loss.box_weight),
        LossTerm("loss_giou", terms.giou_boxes, loss.giou_weight, options={"eps": IOU_EPS}),
    ]
    if has_masks:
        focal = {"alpha": loss.focal_alpha, "gamma": loss.focal_gamma, "empty_frames": loss.empty_frames}
        table += [
            LossTerm("loss_mask", terms.focal_masks, loss.mask_weight, layers="last", options=focal),
            LossTerm("loss_dice", terms.dice_masks, loss.dice_weight, layers="last"),
        ]
    return [
        *table,
        LossTerm("class_error", terms.class_error, 0.0, layers="last", per="none"),
        LossTerm("cardinality_error", terms.cardinality_error, 0.0, per="none"),
        *own_terms(loss.own_terms),
    ]


def clip_tracker(cfg: ConfigDict, network: nn.Cell, portioned: PortionedClip) -> WindowTracker:
    """``portioned``: ``network`` in less memory."""
    inference = cfg.inference
    return WindowTracker(
        runner=FrameClassRunner(network=network, portioned=portioned, pixels=NormalizePixels()),
        num_frames=cfg.data.num_frames,
        prepare=ShortSideResize(short_side=inference.short_side, long_side=inference.long_side),
        rule=VoteByFrame(),
        overlap=inference.window_overlap,
        rules=life_rules(cfg),
        **linking_of(cfg),
    )


def frames_at_a_time(*, maps_per_portion: int, num_queries: int) -> int:
    return max(1, maps_per_portion // num_queries)
