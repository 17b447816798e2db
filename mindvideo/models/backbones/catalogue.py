"""The backbones by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mindspore import nn

from mindvideo.errors import UserError
from mindvideo.models.backbones.resnet import BasicBlock, Bottleneck, NormFactory, ResNet
from mindvideo.models.layers.batch_norm import BatchNorm
from mindvideo.models.layers.frozen_norm import FrozenBatchNorm

RESNETS: dict[str, dict[str, Any]] = {
    "resnet18": {"block": BasicBlock, "depths": (2, 2, 2, 2)},
    "resnet50": {"block": Bottleneck, "depths": (3, 4, 6, 3)},
    "resnet101": {"block": Bottleneck, "depths": (3, 4, 23, 3)},
    "resnext101_32x8d": {
        "block": Bottleneck,
        "depths": (3, 4, 23, 3),
        "groups": 32,
        "width_per_group": 8,
    },
    "resnext101_64x4d": {
        "block": Bottleneck,
        "depths": (3, 4, 23, 3),
        "groups": 64,
        "width_per_group": 4,
    },
    # Residual 3x3 blocks behind a 3x3 stem: small enough to train from scratch on a processor.
    "resnet_small": {
        "block": BasicBlock,
        "depths": (1, 1, 1, 1),
        "widths": (32, 48, 96, 128),
        "stem_width": 32,
        "stem_kernel": 3,
        "stem_pool": False,
    },
}
NORMS: dict[str, NormFactory] = {"frozen": FrozenBatchNorm, "batch": BatchNorm}
BACKBONES = tuple(RESNETS)


def build_resnet(name: str, *, norm: str = "frozen", **options: Any) -> ResNet:
    """The ResNet called ``name``; ``options`` override its constructor arguments (those left None do not)."""
    given = {key: value for key, value in options.items() if value is not None}
    if "widths" in given:
        given.setdefault("stem_width", given["widths"][0] if name == "resnet_small" else 64)
    return ResNet(**{**RESNETS[name], **given}, norm=NORMS[norm])


def build_backbone(
    name: str, *, out_levels: Sequence[int] = (0, 1, 2, 3), norm: str = "frozen", **options: Any
) -> nn.Cell:
    """The backbone called ``name``, with ``channels`` and ``strides`` of the maps it returns."""
    if name not in BACKBONES:
        raise UserError(f"backbone {name!r} does not exist; choose one of {', '.join(BACKBONES)}")
    return build_resnet(name, norm=norm, out_levels=out_levels, **options)
