"""The augmentations that a configuration can name."""

from __future__ import annotations

import dataclasses

from mindvideo.data.transforms.base import Compose, Transform
from mindvideo.data.transforms.colour import Brightness, ChannelPermutation
from mindvideo.data.transforms.flip import HorizontalFlip, TimeReversal
from mindvideo.data.transforms.instances import DropMaskless


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentationSettings:
    """``name`` and the numbers it uses; the meanings are those of section ``data`` of the configuration."""

    name: str = "none"
    short_sides: tuple[int, ...] = ()
    max_long_side: int = 0
    first_short_sides: tuple[int, ...] = tuple(range(480, 769, 32))
    first_max_long_side: int = 800
    crop_short_sides: tuple[int, ...] = (400, 500, 600)
    crop_range: tuple[int, int] = (384, 600)
    photometric: bool = True
    photometric_wrap: bool = False


def toy(settings: AugmentationSettings) -> list[Transform]:
    """For the made-up sets, whose classes are shapes: nothing that changes a shape but the mirror."""
    return [HorizontalFlip(), TimeReversal(), ChannelPermutation(), Brightness(reach=0.2)]


def build_augmentation(settings: AugmentationSettings, *, drop_absent: bool) -> Compose:
    """The named pipeline; ``drop_absent`` ends it with dropping the instances that have no pixel left."""
    transforms = {"none": lambda _: [], "toy": toy}[settings.name](settings)
    return Compose(transforms=[*transforms, *([DropMaskless()] if drop_absent else [])])
