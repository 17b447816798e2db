"""The card of MS-STS VIS: from the configuration to network, training graph, tracker, weight rules and groups."""

from __future__ import annotations

from functools import partial

from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.errors import UserError
from mindvideo.models.cards.groups import backbone_offsets_and_rest
from mindvideo.models.cards.queries import check_encoded_frames, frame_parts, mask_stride, transformer_settings
from mindvideo.models.cards.sequences import freeze_unused_projection, sequence_criterion, sequence_matcher
from mindvideo.models.family import Family
from mindvideo.models.mssts.inference import build_tracker
from mindvideo.models.mssts.network import MSSTS
from mindvideo.models.mssts.training import Discrimination, MSSTSTraining
from mindvideo.models.mssts.weights import mssts_tables
from mindvideo.modules.heads.patch_discriminator import PatchDiscriminator
from mindvideo.modules.heads.query_heads import class_heads
from mindvideo.modules.layers.deform_attention import TwoOutputAttention
from mindvideo.modules.layers.pixels import NormalizePixels
from mindvideo.modules.transformers.two_stream_decoder import build_two_stream_decoder
from mindvideo.training.parameter_groups import ParameterGroup
from mindvideo.weights.rules import RuleTable

SECTION = "mssts"


def build_network(cfg: ConfigDict) -> MSSTS:
    check_encoded_frames(cfg, SECTION)
    mssts = cfg.mssts
    network = MSSTS(
        decoder=build_two_stream_decoder(
            num_layers=mssts.decoder_layers,
            points=mssts.decoder_points,
            temporal_attention=mssts.temporal_attention,
            **transformer_settings(cfg, SECTION),
        ),
        class_heads=class_heads(width=mssts.width, num_classes=cfg.data.num_classes, num_layers=mssts.decoder_layers),
        **frame_parts(cfg, SECTION, attention_type=TwoOutputAttention, split_width=split_width(cfg)),
    )
    freeze_unused_projection(network)
    return network


def split_width(cfg: ConfigDict) -> int:
    """Width inside the split attention; 0 without it."""
    mssts = cfg.mssts
    if not mssts.split_attention:
        return 0
    inner = mssts.split_width or mssts.width // 4
    if inner % mssts.heads:
        raise UserError(
            f"mssts.split_width is {inner}; it must be a multiple of mssts.heads, {mssts.heads} (0 takes a quarter of "
            "mssts.width)"
        )
    return inner


def build_training(cfg: ConfigDict, network: MSSTS, reduce_count: nn.Cell) -> MSSTSTraining:
    mssts, opponent = cfg.mssts, None
    if mssts.adversarial:
        opponent = Discrimination(discriminator=PatchDiscriminator(width=mssts.width))
    return MSSTSTraining(
        network=network,
        pixels=NormalizePixels(),
        matcher=sequence_matcher(cfg, SECTION),
        criterion=sequence_criterion(cfg, SECTION, reduce_count),
        opponent=opponent,
        adversarial_weight=mssts.adversarial_weight,
    )


def weight_rules(cfg: ConfigDict) -> list[RuleTable]:
    return mssts_tables()


def parameter_groups(cfg: ConfigDict) -> list[ParameterGroup]:
    """The discriminator's weights are no part of the network; they learn at their own rate."""
    groups = backbone_offsets_and_rest(cfg)
    if not cfg.mssts.adversarial:
        return groups
    rate, decay = cfg.mssts.discriminator_learning_rate, cfg.optimizer.weight_decay
    return [ParameterGroup("discriminator", r"discriminator\.", rate, decay), *groups]


FAMILY = Family(
    name="mssts",
    build_network=build_network,
    build_training=build_training,
    mask_stride=partial(mask_stride, name=SECTION),
    build_tracker=build_tracker,
    weight_rules=weight_rules,
    parameter_groups=parameter_groups,
)
