"""The cards of the models with queries and dynamic masks share these: checks of their sections, and common parts."""

from __future__ import annotations

from typing import Any, TypedDict

from ml_collections import ConfigDict

from mindvideo.errors import UserError
from mindvideo.models.cards.backbone import backbone_of, strides_of
from mindvideo.modules.encoded_frames import MASK_LEVELS
from mindvideo.modules.heads.dynamic_mask import MASK_CHANNEL_DIVISOR, DynamicMasks, MaskFeatures, parameter_count
from mindvideo.modules.layers.deform_attention import DeformableAttention
from mindvideo.modules.layers.feature_projection import FeatureProjection
from mindvideo.modules.layers.mlp import MLP
from mindvideo.modules.layers.position_encoding import SinePositions2d
from mindvideo.modules.transformers.deformable_encoder import build_deformable_encoder


def check_encoded_frames(cfg: ConfigDict, name: str) -> None:
    """UserError for settings of section ``name`` that contradict each other."""
    section = cfg[name]
    levels = len(section.backbone_levels) + section.extra_levels
    if levels < MASK_LEVELS:
        raise UserError(f"{name}.backbone_levels and extra_levels give {levels} levels; the masks need {MASK_LEVELS}")
    if section.width % MASK_CHANNEL_DIVISOR or section.width % section.heads:
        raise UserError(
            f"{name}.width is {section.width}; it must be a multiple of {MASK_CHANNEL_DIVISOR} and of "
            f"{name}.heads, {section.heads}"
        )
    cell = strides_of(cfg)[section.backbone_levels[0]]
    odd = [list(bucket) for bucket in cfg.data.buckets if any(side % cell for side in bucket)]
    if odd:
        raise UserError(f"data.buckets has {odd}: the finest map has cells of {cell} pixels, so use multiples of it")


def frame_parts(
    cfg: ConfigDict,
    name: str,
    *,
    attention_type: type[DeformableAttention] = DeformableAttention,
    split_width: int = 0,
) -> dict[str, Any]:
    """The parts of section ``name`` that the networks take: those up to the encoder, those of the masks, and sizes."""
    section = cfg[name]
    width = section.width
    backbone = backbone_of(cfg, out_levels=tuple(section.backbone_levels))
    mask_channels = section.mask_channels or width // MASK_CHANNEL_DIVISOR
    transformer = transformer_settings(cfg, name)
    return {
        "backbone": backbone,
        "projection": FeatureProjection(
            channels_of_maps=backbone.channels, channels=width, extra_levels=section.extra_levels
        ),
        "position": SinePositions2d(features=width // 2, offset=-0.5),
        "encoder": build_deformable_encoder(
            num_layers=section.encoder_layers,
            points=section.encoder_points,
            attention_type=attention_type,
            split_width=split_width,
            **transformer,
        ),
        "controller": MLP(in_width=width, hidden=width, out_width=parameter_count(mask_channels), num_layers=3),
        "mask_features": MaskFeatures(width=width, feature_channels=mask_channels),
        "dynamic_masks": DynamicMasks(feature_channels=mask_channels, stride=backbone.strides[0]),
        "width": width,
        "num_levels": transformer["num_levels"],
        "num_queries": section.num_queries,
    }


class TransformerSettings(TypedDict):
    """The sizes that encoder and decoder have in common."""

    width: int
    heads: int
    num_levels: int
    hidden: int
    dropout: float


def transformer_settings(cfg: ConfigDict, name: str) -> TransformerSettings:
    section = cfg[name]
    return {
        "width": section.width,
        "heads": section.heads,
        "num_levels": len(section.backbone_levels) + section.extra_levels,
        "hidden": section.hidden,
        "dropout": section.dropout,
    }


def mask_stride(cfg: ConfigDict, name: str) -> int:
    """The masks come at half the stride of the finest map."""
    return strides_of(cfg)[cfg[name].backbone_levels[0]] // 2
