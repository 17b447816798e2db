"""The card of InstanceFormer: from the configuration to network, training graph, tracker, weight rules and groups."""

from __future__ import annotations

from functools import partial

from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.data.media.frame_size import ShortSideResize
from mindvideo.inference.analysis_record import AnalysisRecorder
from mindvideo.inference.trackers.online import OnlineTracker
from mindvideo.models.cards.groups import backbone_offsets_and_rest
from mindvideo.models.cards.lives import life_rules
from mindvideo.models.cards.queries import frame_parts, mask_stride, transformer_settings
from mindvideo.models.family import Family
from mindvideo.models.instanceformer.checks import check
from mindvideo.models.instanceformer.inference import InstanceFormerStep
from mindvideo.models.instanceformer.network import InstanceFormer
from mindvideo.models.instanceformer.training import InstanceFormerTraining
from mindvideo.models.instanceformer.weights import detector_table, instanceformer_table
from mindvideo.modules.heads.query_heads import START_SIZE_LOGIT, class_heads
from mindvideo.modules.layers.deform_attention import xavier_dense_with_default_bias
from mindvideo.modules.layers.linear import Linear
from mindvideo.modules.layers.pixels import NormalizePixels
from mindvideo.modules.losses.criterion import Criterion, LossTerm
from mindvideo.modules.losses.own import own_terms
from mindvideo.modules.losses.terms import contrast, dice_masks, focal_classes, focal_masks, giou_boxes, l1_boxes
from mindvideo.modules.matching.costs import euclidean_box, focal_class, giou_box
from mindvideo.modules.matching.matcher import CostTerm, Matcher
from mindvideo.modules.transformers.memory_decoder import build_memory_decoder
from mindvideo.weights.backbone_rules import imagenet_table
from mindvideo.weights.rules import RuleTable


def build_network(cfg: ConfigDict) -> InstanceFormer:
    instanceformer = cfg.instanceformer
    check(cfg)
    C, K = instanceformer.width, cfg.data.num_classes
    has_memory = instanceformer.memory_tokens > 0
    temporal = [Linear(K, K) for _ in range(instanceformer.decoder_layers)] if instanceformer.propagate_class else None
    decoder = build_memory_decoder(
        num_layers=instanceformer.decoder_layers,
        points=instanceformer.decoder_points,
        locate_by_position=instanceformer.locate_by_position,
        has_memory=has_memory,
        start_size_logit=0.0 if instanceformer.reference_propagation == "box" else START_SIZE_LOGIT,
        **transformer_settings(cfg, "instanceformer"),
    )
    return InstanceFormer(
        decoder=decoder,
        class_heads=class_heads(width=C, num_classes=K, num_layers=instanceformer.decoder_layers),
        num_classes=K,
        reference_propagation=instanceformer.reference_propagation,
        inference_propagation=instanceformer.inference_propagation,
        memory_projection=xavier_dense_with_default_bias(C + K + 4, C) if has_memory else None,
        memory_frames=instanceformer.memory_frames,
        memory_tokens=instanceformer.memory_tokens,
        memory_mixes_clips=instanceformer.memory_mixes_clips,
        temporal_class_heads=nn.CellList(temporal) if temporal else None,
        **frame_parts(cfg, "instanceformer"),
    )


def build_training(cfg: ConfigDict, network: InstanceFormer, reduce_count: nn.Cell) -> InstanceFormerTraining:
    instanceformer = cfg.instanceformer
    return InstanceFormerTraining(
        network=network,
        pixels=NormalizePixels(),
        matcher=build_matcher(cfg),
        criterion=build_criterion(cfg, reduce_count),
        match_whole_clip=instanceformer.match_on == "clip",
        aux_masks_from_last_layer=instanceformer.aux_masks_from_last_layer,
    )


def build_matcher(cfg: ConfigDict) -> Matcher:
    matcher = cfg.matcher
    terms = (
        # PARITY(instanceformer): the box distance is Euclidean though the paper says L1.
        CostTerm("box", euclidean_box, matcher.box_cost),
        CostTerm("class", focal_class, matcher.class_cost),
        CostTerm("giou", giou_box, matcher.iou_cost),
    )
    return Matcher(terms=terms, frames="first" if cfg.instanceformer.match_on == "first_frame" else "present")


def build_criterion(cfg: ConfigDict, reduce_count: nn.Cell) -> Criterion:
    instanceformer, loss = cfg.instanceformer, cfg.loss
    terms = [
        LossTerm("loss_ce", focal_classes, loss.class_weight),
        LossTerm("loss_bbox", l1_boxes, loss.box_weight),
        LossTerm("loss_giou", giou_boxes, loss.giou_weight),
        LossTerm("loss_mask", focal_masks, loss.mask_weight, options={"empty_frames": True}),
        LossTerm("loss_dice", dice_masks, loss.dice_weight),
    ]
    if instanceformer.contrastive_weight > 0 and cfg.data.num_frames > 1:
        weight = instanceformer.contrastive_weight
        terms.append(LossTerm("loss_contrastive", contrast, weight, layers="last", per="none"))
    return Criterion(
        terms=[*terms, *own_terms(loss.own_terms)],
        num_layers=instanceformer.decoder_layers,
        reduce_count=reduce_count,
        # PARITY(instanceformer): an instance that is out of the frame is taught its class, a speck of a box, no mask.
        supervised="all" if instanceformer.absent_as_positive else "present",
    )


def build_tracker(cfg: ConfigDict, network: InstanceFormer) -> OnlineTracker:
    instanceformer, inference = cfg.instanceformer, cfg.inference
    network.set_train(False)
    return OnlineTracker(
        step=InstanceFormerStep(network=network, pixels=NormalizePixels()),
        resize=ShortSideResize(
            short_side=inference.short_side, long_side=inference.long_side, multiple=inference.size_multiple
        ),
        first_frames=instanceformer.first_frames,
        candidate_pairs=instanceformer.candidate_pairs,
        frames_per_vote=instanceformer.frames_per_vote,
        rules=life_rules(cfg),
        observer=AnalysisRecorder(inference.analysis_folder) if inference.analysis_folder else None,
    )


def weight_rules(cfg: ConfigDict) -> list[RuleTable]:
    """The published checkpoints of this family, a detector or an ImageNet backbone to start from."""
    return [instanceformer_table(), detector_table(), imagenet_table("backbone.")]


FAMILY = Family(
    name="instanceformer",
    build_network=build_network,
    build_training=build_training,
    mask_stride=partial(mask_stride, name="instanceformer"),
    build_tracker=build_tracker,
    weight_rules=weight_rules,
    parameter_groups=backbone_offsets_and_rest,
)
