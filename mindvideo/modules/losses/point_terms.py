"""Terms of a criterion's table for masks that are compared at points; see terms.py for what a term is."""

from __future__ import annotations

from typing import TypedDict

import mindspore as ms

from mindvideo.modules.losses.mask import dice_per_mask
from mindvideo.modules.losses.matched import Matched
from mindvideo.modules.losses.point_sampling import cross_entropy_per_mask


class PointMasks(TypedDict):
    """The masks of the instances' queries and of the instances at the same points; ``extra`` of these terms."""

    logits: ms.Tensor  # [D, B, N, T, P]
    targets: ms.Tensor  # float [D, B, N, T, P], fractions at the border of a mask


def cross_entropy_at_points(m: Matched) -> ms.Tensor:
    """The mean over the points of a frame's mask."""
    return (cross_entropy_per_mask(m["extra"]["logits"], m["extra"]["targets"]) * m["supervised"]).sum((1, 2, 3))


def dice_at_points(m: Matched) -> ms.Tensor:
    """1 - dice over the points of a frame's mask."""
    return (dice_per_mask(m["extra"]["logits"], m["extra"]["targets"]) * m["supervised"]).sum((1, 2, 3))
