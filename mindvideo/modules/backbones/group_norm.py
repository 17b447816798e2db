"""Group normalisation after a convolution, for training from scratch with few frames a step."""

from __future__ import annotations

import mindspore as ms

from mindvideo.modules.layers.convolution import Convolution, finished
from mindvideo.modules.layers.norm import GroupNorm

# The greatest number of groups, of the usual ones, that leaves at least 8 channels in each.
GROUP_CHOICES = (32, 16, 8, 4, 2, 1)


class GroupNormAfterConv(GroupNorm):
    """GroupNorm with the interface of the backbones' norms."""

    def __init__(self, channels: int) -> None:
        groups = next(n for n in GROUP_CHOICES if channels % n == 0 and (channels // n >= 8 or n == 1))
        super().__init__(groups, channels)

    def after(
        self, conv: Convolution, x: ms.Tensor, residual: ms.Tensor | None = None, relu: bool = False
    ) -> ms.Tensor:
        """relu(the norm of ``conv(x)`` + residual)."""
        return finished(self.construct(conv(x)), residual, relu)
