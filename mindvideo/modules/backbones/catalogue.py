"""The backbones by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mindspore import nn

from mindvideo.modules.backbones.convnext import STAGE_STRIDES as CONVNEXT_STRIDES
from mindvideo.modules.backbones.convnext import ConvNeXt
from mindvideo.modules.backbones.group_norm import GroupNormAfterConv
from mindvideo.modules.backbones.resnet import BasicBlock, Bottleneck, NormFactory, ResNet, stage_strides
from mindvideo.modules.backbones.swin import STAGE_STRIDES as SWIN_STRIDES
from mindvideo.modules.backbones.swin import Swin
from mindvideo.modules.layers.batch_norm import BatchNorm
from mindvideo.modules.layers.frozen_norm import FrozenBatchNorm

_RESNET101 = {"block": Bottleneck, "depths": (3, 4, 23, 3)}
RESNETS: dict[str, dict[str, Any]] = {
    "resnet18": {"block": BasicBlock, "depths": (2, 2, 2, 2)},
    "resnet50": {"block": Bottleneck, "depths": (3, 4, 6, 3)},
    "resnet101": _RESNET101,
    "resnext101_32x8d": {**_RESNET101, "block_options": {"groups": 32, "width_per_group": 8}},
    "resnext101_64x4d": {**_RESNET101, "block_options": {"groups": 64, "width_per_group": 4}},
    # Residual 3x3 blocks after a 3x3 stem: small enough to train from scratch on a processor.
    "resnet_small": {
        "block": BasicBlock,
        "depths": (1, 1, 1, 1),
        "widths": (32, 48, 96, 128),
        "stem_width": 32,
        "stem_kernel": 3,
        "stem_pool": False,
    },
}
SWINS: dict[str, dict[str, Any]] = {
    "swin_t_p4w7": {"embed": 96, "depths": (2, 2, 6, 2), "heads": (3, 6, 12, 24), "window": 7, "drop_path": 0.2},
    "swin_s_p4w7": {"embed": 96, "depths": (2, 2, 18, 2), "heads": (3, 6, 12, 24), "window": 7, "drop_path": 0.2},
    "swin_b_p4w7": {"embed": 128, "depths": (2, 2, 18, 2), "heads": (4, 8, 16, 32), "window": 7, "drop_path": 0.3},
    "swin_l_p4w7": {"embed": 192, "depths": (2, 2, 18, 2), "heads": (6, 12, 24, 48), "window": 7, "drop_path": 0.3},
    "swin_l_p4w12": {"embed": 192, "depths": (2, 2, 18, 2), "heads": (6, 12, 24, 48), "window": 12, "drop_path": 0.3},
}
CONVNEXTS: dict[str, dict[str, Any]] = {
    "convnext_t": {"depths": (3, 3, 9, 3), "widths": (96, 192, 384, 768), "drop_path": 0.1},
}
NORMS: dict[str, NormFactory] = {"frozen": FrozenBatchNorm, "batch": BatchNorm, "group": GroupNormAfterConv}
BACKBONES = (*RESNETS, *SWINS, *CONVNEXTS)


def strides_of_stages(name: str, *, stem_pool: bool | None = None, dilate_last: bool = False) -> tuple[int, ...]:
    """Pixels from one cell to the next in the maps of the four stages; ``stem_pool`` None: as ``name`` has it."""
    if name in SWINS:
        return SWIN_STRIDES
    if name in CONVNEXTS:
        return CONVNEXT_STRIDES
    return stage_strides(
        stem_pool=RESNETS[name].get("stem_pool", True) if stem_pool is None else stem_pool, dilate_last=dilate_last
    )


def build_resnet(
    name: str, *, out_levels: Sequence[int] = (0, 1, 2, 3), norm: str = "frozen", **options: Any
) -> ResNet:
    """The ResNet called ``name``; ``options`` override its constructor arguments (those left None do not)."""
    given = {key: value for key, value in options.items() if value is not None}
    if name == "resnet_small" and "widths" in given:
        given.setdefault("stem_width", given["widths"][0])
    return ResNet(**{**RESNETS[name], **given}, norm=NORMS[norm], out_levels=out_levels)


def build_swin(name: str, *, out_levels: Sequence[int] = (0, 1, 2, 3), drop_path: float | None = None) -> Swin:
    """The Swin called ``name``; ``drop_path`` replaces its published rate."""
    return Swin(**_with_drop_path(SWINS[name], drop_path), out_levels=out_levels)


def build_convnext(name: str, *, out_levels: Sequence[int] = (0, 1, 2, 3), drop_path: float | None = None) -> ConvNeXt:
    """The ConvNeXt called ``name``; ``drop_path`` replaces its published rate."""
    return ConvNeXt(**_with_drop_path(CONVNEXTS[name], drop_path), out_levels=out_levels)


def _with_drop_path(options: dict[str, Any], drop_path: float | None) -> dict[str, Any]:
    return options if drop_path is None else {**options, "drop_path": drop_path}


def build_backbone(name: str, *, out_levels: Sequence[int] = (0, 1, 2, 3), **options: Any) -> nn.Cell:
    """The backbone called ``name``, with ``channels`` and ``strides`` of the maps it returns."""
    if name not in BACKBONES:
        raise ValueError(f"no backbone is called {name!r}; there are {', '.join(BACKBONES)}")
    kinds = ((RESNETS, build_resnet), (SWINS, build_swin), (CONVNEXTS, build_convnext))
    [build] = [build for names, build in kinds if name in names]
    return build(name, out_levels=out_levels, **options)
