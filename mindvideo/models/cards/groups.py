"""Parameter groups that several cards share: what the published recipes let learn at rates of its own."""

from __future__ import annotations

from ml_collections import ConfigDict

from mindvideo.training.parameter_groups import ParameterGroup


def backbone_and_rest(cfg: ConfigDict) -> list[ParameterGroup]:
    optimizer = cfg.optimizer
    return [
        ParameterGroup("backbone", r"backbone\.", optimizer.backbone_learning_rate, optimizer.weight_decay),
        ParameterGroup("rest", r".*", optimizer.learning_rate, optimizer.weight_decay),
    ]


def backbone_offsets_and_rest(cfg: ConfigDict) -> list[ParameterGroup]:
    """For deformable attention: where to sample is learnt more slowly than what to make of it."""
    optimizer = cfg.optimizer
    backbone, rest = backbone_and_rest(cfg)
    offsets_rate = optimizer.learning_rate * optimizer.offset_factor
    where = ParameterGroup("offsets", r"reference_points|sampling_offsets", offsets_rate, optimizer.weight_decay)
    return [backbone, where, rest]
