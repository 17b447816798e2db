"""Section ``backbone``: the network that turns frames into feature maps."""

from __future__ import annotations

import dataclasses

from mindvideo.config.key import When, key

_IS_RESNET = When(
    "name",
    ("resnet18", "resnet50", "resnet101", "resnext101_32x8d", "resnext101_64x4d", "resnet_small"),
    "a ResNet",
)
_DROPS_PATHS = When(
    "name",
    ("swin_t_p4w7", "swin_s_p4w7", "swin_b_p4w7", "swin_l_p4w7", "swin_l_p4w12", "convnext_t"),
    "a Swin or a ConvNeXt",
)


@dataclasses.dataclass
class Backbone:
    name: str = key(
        "resnet50",
        "backbone network",
        choices=(
            "resnet18",
            "resnet50",
            "resnet101",
            "resnext101_32x8d",
            "resnext101_64x4d",
            "resnet_small",
            "swin_t_p4w7",
            "swin_s_p4w7",
            "swin_b_p4w7",
            "swin_l_p4w7",
            "swin_l_p4w12",
            "convnext_t",
        ),
    )
    norm: str = key(
        "frozen",
        "normalisation of a ResNet; frozen keeps the statistics of the pretrained weights",
        choices=("frozen", "batch", "group"),
        when=_IS_RESNET,
    )
    trainable_stages: int = key(
        3,
        "how many of a ResNet's stages train, counted from the end; 5 includes the stem",
        minimum=0,
        maximum=5,
        when=_IS_RESNET,
    )
    dilate_last: bool = key(False, "dilate a ResNet's last stage instead of striding it (DC5)", when=_IS_RESNET)
    widths: list[int] = key(
        [],
        "base channels of a ResNet's four stages; empty keeps the network's own",
        minimum=8,
        maximum=4096,
        items=(0, 4),
        when=_IS_RESNET,
    )
    depths: list[int] = key(
        [],
        "blocks in a ResNet's four stages; empty keeps the network's own",
        minimum=1,
        maximum=100,
        items=(0, 4),
        when=_IS_RESNET,
    )
    first_stride: int = key(
        0,
        "stride of a ResNet's first stage: 4 pools after the stem, 2 does not; 0 keeps the own",
        choices=(0, 2, 4),
        when=_IS_RESNET,
    )
    drop_path: float = key(
        -1.0,
        "highest drop-path rate of a Swin or ConvNeXt; negative keeps the published one",
        minimum=-1.0,
        maximum=1.0,
        when=_DROPS_PATHS,
    )
