"""From the section ``backbone`` to the network; shared by the family cards."""

from __future__ import annotations

from collections.abc import Sequence

from mindspore import nn
from ml_collections import ConfigDict

from mindvideo.modules.backbones.catalogue import RESNETS, build_backbone, strides_of_stages


def backbone_of(cfg: ConfigDict, *, out_levels: Sequence[int] = (0, 1, 2, 3)) -> nn.Cell:
    """The configured backbone; it returns the maps of ``out_levels`` and knows their ``channels`` and ``strides``."""
    backbone = cfg.backbone
    if backbone.name not in RESNETS:
        drop_path = backbone.drop_path if backbone.drop_path >= 0 else None
        return build_backbone(backbone.name, out_levels=out_levels, drop_path=drop_path)
    return build_backbone(
        backbone.name,
        out_levels=out_levels,
        norm=backbone.norm,
        trainable_stages=backbone.trainable_stages,
        dilate_last=backbone.dilate_last,
        widths=tuple(backbone.widths) or None,
        depths=tuple(backbone.depths) or None,
        stem_pool=_stem_pool(cfg),
    )


def strides_of(cfg: ConfigDict) -> tuple[int, ...]:
    """Pixels from one cell to the next in the four maps of the configured backbone."""
    backbone = cfg.backbone
    if backbone.name not in RESNETS:
        return strides_of_stages(backbone.name)
    return strides_of_stages(backbone.name, stem_pool=_stem_pool(cfg), dilate_last=backbone.dilate_last)


def _stem_pool(cfg: ConfigDict) -> bool | None:
    """None: as the backbone of that name has it."""
    return cfg.backbone.first_stride == 4 if cfg.backbone.first_stride else None
