"""From the section ``backbone`` to the network; shared by the family cards."""

from __future__ import annotations

from collections.abc import Sequence

from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.models.backbones.catalogue import build_backbone


def backbone_of(cfg: ConfigDict, *, out_levels: Sequence[int] = (0, 1, 2, 3)) -> nn.Cell:
    """The configured backbone: frames [N, 3, H, W] -> maps of ``out_levels``; it knows its ``channels`` and ``strides``."""
    backbone = cfg.backbone
    return build_backbone(
        backbone.name,
        out_levels=out_levels,
        norm=backbone.norm,
        trainable_stages=backbone.trainable_stages,
        dilate_last=backbone.dilate_last,
        widths=tuple(backbone.widths) or None,
        depths=tuple(backbone.depths) or None,
        stem_pool=backbone.first_stride == 4 if backbone.first_stride else None,
    )
