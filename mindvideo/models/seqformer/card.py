"""The card of SeqFormer, which the published MS-STS VIS code is too."""

from __future__ import annotations

from functools import partial

from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.models.cards.groups import backbone_offsets_and_rest
from mindvideo.models.cards.queries import check_encoded_frames, frame_parts, mask_stride, transformer_settings
from mindvideo.models.cards.sequences import freeze_unused_projection, sequence_criterion, sequence_matcher
from mindvideo.models.family import Family
from mindvideo.models.seqformer.inference import build_tracker
from mindvideo.models.seqformer.network import SeqFormer
from mindvideo.models.seqformer.training import SeqFormerTraining
from mindvideo.models.seqformer.weights import seqformer_table
from mindvideo.modules.heads.query_heads import class_heads
from mindvideo.modules.layers.deform_attention import TwoOutputAttention
from mindvideo.modules.layers.pixels import NormalizePixels
from mindvideo.modules.transformers.two_stream_decoder import build_two_stream_decoder
from mindvideo.weights.backbone_rules import imagenet_table
from mindvideo.weights.rules import RuleTable
from mindvideo.weights.two_stream_rules import two_stream_detector_table

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
    freeze_unused_projection(network)
    return network


def build_training(cfg: ConfigDict, network: SeqFormer, reduce_count: nn.Cell) -> SeqFormerTraining:
    return SeqFormerTraining(
        network=network,
        pixels=NormalizePixels(),
        matcher=sequence_matcher(cfg, SECTION),
        criterion=sequence_criterion(cfg, SECTION, reduce_count),
    )


def weight_rules(cfg: ConfigDict) -> list[RuleTable]:
    """The published checkpoints of this family, a detector or an ImageNet backbone to start from."""
    return [seqformer_table(), two_stream_detector_table(), imagenet_table("backbone.")]


FAMILY = Family(
    name="seqformer",
    build_network=build_network,
    build_training=build_training,
    mask_stride=partial(mask_stride, name=SECTION),
    build_tracker=build_tracker,
    weight_rules=weight_rules,
    parameter_groups=backbone_offsets_and_rest,
)
