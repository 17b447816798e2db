"""The augmentations that a configuration can name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from mindvideo.data.transforms.base import Compose, OneOf, Transform
from mindvideo.data.transforms.colour import Brightness, ChannelPermutation
from mindvideo.data.transforms.flip import HorizontalFlip, TimeReversal
from mindvideo.data.transforms.instances import DropMaskless, DropVanished, ZeroMaskless
from mindvideo.data.transforms.photometric import PhotometricDistortion
from mindvideo.data.transforms.resize import RandomCrop, ResizeShortSide
from mindvideo.data.transforms.rotation import Rotation


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
    rotation: float = 0.0


def _photometric(settings: AugmentationSettings) -> list[Transform]:
    return [PhotometricDistortion(wrap=settings.photometric_wrap)] if settings.photometric else []


def _final_resize(settings: AugmentationSettings) -> list[Transform]:
    if not settings.short_sides:
        return []
    return [ResizeShortSide(short_sides=settings.short_sides, max_long_side=settings.max_long_side)]


def _crop(settings: AugmentationSettings, *, zero_vanished: bool = False) -> list[Transform]:
    min_side, max_side = settings.crop_range
    return [
        ResizeShortSide(short_sides=settings.crop_short_sides),
        RandomCrop(min_side=min_side, max_side=max_side, zero_vanished=zero_vanished),
    ]


def toy(settings: AugmentationSettings) -> list[Transform]:
    """For the made-up sets, whose classes are shapes: only the mirror changes a shape."""
    return [HorizontalFlip(), TimeReversal(), ChannelPermutation(), Brightness(reach=0.2), *_final_resize(settings)]


def resize_crop(settings: AugmentationSettings) -> list[Transform]:
    """Flip, resize, colours, resize, crop, resize: every clip ends at one of few sizes."""
    first = ResizeShortSide(short_sides=settings.first_short_sides, max_long_side=settings.first_max_long_side)
    return [HorizontalFlip(), first, *_photometric(settings), *_crop(settings), *_final_resize(settings)]


def resize_or_crop(settings: AugmentationSettings) -> list[Transform]:
    """Flip, colours, then for half of the clips a resize, for the others resize, crop and resize.

    Instances that a crop left without extent are dropped.
    """
    resized = [*_final_resize(settings), DropVanished()]
    cropped = [*_crop(settings, zero_vanished=True), *_final_resize(settings), DropVanished()]
    either = OneOf(choices=[Compose(transforms=resized), Compose(transforms=cropped)])
    return [HorizontalFlip(), *_photometric(settings), either]


def none(settings: AugmentationSettings) -> list[Transform]:
    """The frames as they are, or resized where ``short_sides`` asks for it."""
    return _final_resize(settings)


AUGMENTATIONS: dict[str, Callable[[AugmentationSettings], list[Transform]]] = {
    "none": none,
    "toy": toy,
    "resize_crop": resize_crop,
    "resize_or_crop": resize_or_crop,
}


ABSENT_TREATMENTS: dict[str, list[Transform]] = {"keep": [], "zero_box": [ZeroMaskless()], "drop": [DropMaskless()]}


def build_augmentation(settings: AugmentationSettings, *, absent: str = "keep") -> Compose:
    """The named pipeline, after a ``rotation`` where one is set.

    ``absent`` then treats instances without a pixel: it keeps them; or their boxes are
    zeroed where they have none; or those are zeroed and instances that have none in the whole clip are dropped.
    """
    turn = [Rotation(reach=settings.rotation)] if settings.rotation else []
    return Compose(transforms=[*turn, *AUGMENTATIONS[settings.name](settings), *ABSENT_TREATMENTS[absent]])
