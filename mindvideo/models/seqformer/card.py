"""The card of SeqFormer, which the published MS-STS VIS code is too."""

from __future__ import annotations

from functools import partial

from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.data.media.frame_size import ShortSideResize
from mindvideo.inference.post_process import SequenceRunner
from mindvideo.inference.scoring.track_scores import BestPairs
from mindvideo.inference.trackers.windows import WindowTracker
from mindvideo.models.cards.groups import backbone_offsets_and_rest
from mindvideo.models.cards.linking import linking_of
from mindvideo.models.cards.queries import check_encoded_frames, frame_parts, mask_stride, transformer_settings
from mindvideo.models.family import Family
from mindvideo.models.seqformer.inference import PortionedSeqFormer
from mindvideo.models.seqformer.network import SeqFormer
from mindvideo.models.seqformer.training import SeqFormerTraining
from mindvideo.models.seqformer.weights import detector_table, seqformer_table
from mindvideo.modules.heads.query_heads import class_heads
from mindvideo.modules.layers.deform_attention import TwoOutputAttention
from mindvideo.modules.layers.pixels import NormalizePixels
from mindvideo.modules.losses.criterion import Criterion, LossTerm
from mindvideo.modules.losses.own import own_terms
from mindvideo.modules.losses.terms import dice_tubes, focal_classes, focal_tubes, giou_boxes, l1_boxes
from mindvideo.modules.matching.costs import focal_class, giou_box, joint_euclidean_box
from mindvideo.modules.matching.matcher import CostTerm, Matcher
from mindvideo.modules.transformers.two_stream_decoder import build_two_stream_decoder
from mindvideo.weights.backbone_rules import imagenet_table
from mindvideo.weights.rules import RuleTable

SECTION = "seqformer"


def build_network(cfg: ConfigDict) -> SeqFormer:
    check_encoded_frames(cfg, SECTION)
    seqformer = cfg.seqformer
    network = SeqFormer(
        decoder=build_two_stream_decoder(
            num_layers=seqformer.decoder_layers, points=seqformer.decoder_points, **transformer_settings(cfg, SECTION)
        ),
        class_heads=class_heads(
            width=seqformer.width, num_classes=cfg.data.num_classes, num_layers=seqformer.decoder_layers
        ),
        **frame_parts(cfg, SECTION, attention_type=TwoOutputAttention),
    )
    # The published weights hold the second projection for the encoder too, which has no use for it.
    for layer in network.encoder.layers:
        for parameter in layer.self_attn.output_proj_box.get_parameters():
            parameter.requires_grad = False
    return network


def build_training(cfg: ConfigDict, network: SeqFormer, reduce_count: nn.Cell) -> SeqFormerTraining:
    return SeqFormerTraining(
        network=network,
        pixels=NormalizePixels(),
        matcher=build_matcher(cfg),
        criterion=build_criterion(cfg, reduce_count),
    )


def build_matcher(cfg: ConfigDict) -> Matcher:
    matcher = cfg.matcher
    terms = (
        # PARITY(seqformer): one Euclidean distance over the boxes of all frames, where the paper says L1.
        CostTerm("box", joint_euclidean_box, matcher.box_cost),
        CostTerm("class", focal_class, matcher.class_cost, {"of_clip": True}),
        CostTerm("giou", giou_box, matcher.iou_cost),
    )
    return Matcher(terms=terms, frames="all" if cfg.seqformer.absent_boxes else "present")


def build_criterion(cfg: ConfigDict, reduce_count: nn.Cell) -> Criterion:
    seqformer, loss = cfg.seqformer, cfg.loss
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
        num_layers=seqformer.decoder_layers,
        reduce_count=reduce_count,
        supervised="all" if seqformer.absent_boxes else "present",
    )


def weight_rules(cfg: ConfigDict) -> list[RuleTable]:
    """The published checkpoints of this family, a detector or an ImageNet backbone to start from."""
    return [seqformer_table(), detector_table(), imagenet_table("backbone.")]


def build_tracker(cfg: ConfigDict, network: SeqFormer) -> WindowTracker:
    seqformer, inference = cfg.seqformer, cfg.inference
    pixels = NormalizePixels()
    runner = SequenceRunner(
        network=network,
        portioned=PortionedSeqFormer(network=network, pixels=pixels),
        pixels=pixels,
        resize=ShortSideResize(
            short_side=inference.short_side, long_side=inference.long_side, multiple=inference.size_multiple
        ),
        candidate_pairs=seqformer.candidate_pairs,
        clip_frames=cfg.data.num_frames,
    )
    return WindowTracker(
        runner=runner,
        num_frames=seqformer.window_frames,
        prepare=runner.prepare,
        rule=BestPairs(pairs=seqformer.candidate_pairs),
        repeat_short=False,
        overlap=inference.window_overlap,
        **linking_of(cfg),
    )


FAMILY = Family(
    name="seqformer",
    build_network=build_network,
    build_training=build_training,
    mask_stride=partial(mask_stride, name=SECTION),
    build_tracker=build_tracker,
    weight_rules=weight_rules,
    parameter_groups=backbone_offsets_and_rest,
)
