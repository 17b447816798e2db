"""The cards of families whose queries hold an instance through a whole clip share this."""

from __future__ import annotations

from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.data.media.frame_size import ShortSideResize
from mindvideo.inference.post_process import PortionedClip, SequenceRunner
from mindvideo.inference.scoring.track_scores import BestPairs
from mindvideo.inference.trackers.windows import WindowTracker
from mindvideo.models.cards.linking import linking_of
from mindvideo.models.cards.lives import life_rules
from mindvideo.modules.losses.criterion import Criterion, LossTerm
from mindvideo.modules.losses.own import own_terms
from mindvideo.modules.losses.terms import dice_tubes, focal_classes, focal_tubes, giou_boxes, l1_boxes
from mindvideo.modules.matching.costs import focal_class, giou_box, joint_euclidean_box
from mindvideo.modules.matching.matcher import CostTerm, Matcher


def sequence_matcher(cfg: ConfigDict, name: str) -> Matcher:
    section, matcher = cfg[name], cfg.matcher
    terms = (
        # PARITY(seqformer): one Euclidean distance over the boxes of all frames, where the paper says L1.
        CostTerm("box", joint_euclidean_box, matcher.box_cost),
        CostTerm("class", focal_class, matcher.class_cost, {"of_clip": True}),
        CostTerm("giou", giou_box, matcher.iou_cost),
    )
    return Matcher(terms=terms, frames="all" if section.absent_boxes else "present")


def sequence_criterion(cfg: ConfigDict, name: str, reduce_count: nn.Cell) -> Criterion:
    section, loss = cfg[name], cfg.loss
    terms = (
        LossTerm("loss_ce", focal_classes, loss.class_weight, per="instance", options={"of_clip": True}),
        LossTerm("loss_bbox", l1_boxes, loss.box_weight),
        LossTerm("loss_giou", giou_boxes, loss.giou_weight),
        LossTerm("loss_mask", focal_tubes, loss.mask_weight, per="instance"),
        LossTerm("loss_dice", dice_tubes, loss.dice_weight, per="instance"),
        *own_terms(loss.own_terms),
    )
    return Criterion(
        terms=terms,
        num_layers=section.decoder_layers,
        reduce_count=reduce_count,
        supervised="all" if section.absent_boxes else "present",
    )


def freeze_unused_projection(network: nn.Cell) -> None:
    """The published weights hold the second projection for the encoder too, which has no use for it."""
    for layer in network.encoder.layers:
        for parameter in layer.self_attn.output_proj_box.get_parameters():
            parameter.requires_grad = False


def sequence_tracker(
    cfg: ConfigDict, name: str, *, network: nn.Cell, portioned: PortionedClip, pixels: nn.Cell
) -> WindowTracker:
    section, inference = cfg[name], cfg.inference
    runner = SequenceRunner(
        network=network,
        portioned=portioned,
        pixels=pixels,
        resize=ShortSideResize(
            short_side=inference.short_side, long_side=inference.long_side, multiple=inference.size_multiple
        ),
        candidate_pairs=section.candidate_pairs,
        clip_frames=cfg.data.num_frames,
    )
    return WindowTracker(
        runner=runner,
        num_frames=section.window_frames,
        prepare=runner.prepare,
        rule=BestPairs(pairs=section.candidate_pairs),
        repeat_short=False,
        overlap=inference.window_overlap,
        rules=life_rules(cfg),
        **linking_of(cfg),
    )
