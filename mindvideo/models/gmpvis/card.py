"""The card of GMP-VIS: from the configuration to network, training graph, tracker, weight rules and groups."""

from __future__ import annotations

from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.models.cards.clips import clip_criterion, clip_matcher, every_pixel
from mindvideo.models.cards.dense_clips import clip_parts
from mindvideo.models.cards.groups import backbone_and_rest
from mindvideo.models.family import Family
from mindvideo.models.gmpvis.inference import build_tracker
from mindvideo.models.gmpvis.network import GMPVIS
from mindvideo.models.gmpvis.training import GMPVISTraining, second_classes
from mindvideo.models.gmpvis.weights import gmpvis_tables
from mindvideo.modules.heads.pyramid_classifier import PyramidClassifier
from mindvideo.modules.layers.linear import Linear
from mindvideo.modules.layers.pixels import NormalizePixels
from mindvideo.modules.layers.ramp import Ramp
from mindvideo.modules.losses.criterion import LossTerm
from mindvideo.modules.losses.graph_matching import graph_matching
from mindvideo.modules.matching.graph_matching import FINAL_SHARPNESS, GraphMatcher
from mindvideo.weights.rules import RuleTable


def build_network(cfg: ConfigDict) -> GMPVIS:
    gmpvis = cfg.gmpvis
    parts = clip_parts(cfg, "gmpvis")
    has_second = gmpvis.second_class_weight > 0
    scalings = {"iterations": gmpvis.sinkhorn_iterations} if gmpvis.solver == "sinkhorn" else {}
    return GMPVIS(
        **parts,
        node_embedding=Linear(gmpvis.width, gmpvis.node_width),
        graph_matcher=GraphMatcher(width=gmpvis.node_width, solver=gmpvis.solver, **scalings),
        second_classes=PyramidClassifier(num_logits=cfg.data.num_classes + 1) if has_second else None,
    )


def build_training(cfg: ConfigDict, network: GMPVIS, reduce_count: nn.Cell) -> GMPVISTraining:
    gmpvis, loss = cfg.gmpvis, cfg.loss
    more_terms = [LossTerm("loss_match", graph_matching, gmpvis.match_weight, layers="last", per="none")]
    if network.second_classes is not None:
        no_object = {"no_object_weight": loss.no_object_weight}
        second = LossTerm(
            "loss_ce2", second_classes, gmpvis.second_class_weight, layers="last", per="none", options=no_object
        )
        more_terms.append(second)
    return GMPVISTraining(
        pixels=NormalizePixels(),
        network=network,
        num_frames=cfg.data.num_frames,
        matcher=clip_matcher(cfg),
        criterion=clip_criterion(cfg, reduce_count, decoder_layers=gmpvis.decoder_layers, more_terms=more_terms),
        sharpness=Ramp(start=gmpvis.first_sharpness, end=FINAL_SHARPNESS, steps=gmpvis.sharpness_steps),
    )


def weight_rules(cfg: ConfigDict) -> list[RuleTable]:
    return gmpvis_tables(second_classes=cfg.gmpvis.second_class_weight > 0)


FAMILY = Family(
    name="gmpvis",
    build_network=build_network,
    build_training=build_training,
    mask_stride=every_pixel,
    build_tracker=build_tracker,
    weight_rules=weight_rules,
    parameter_groups=backbone_and_rest,
)
