"""From the loader's bytes to what the networks take: normalised frames and a padding mask."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindvideo.ops.slices import part

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class NormalizePixels(nn.Cell):
    """uint8 frames [B, T, H, W, 3] and valid sizes [B, 2] -> frames [B, T, 3, H, W] and padding [B, T, H, W].

    Pixels are scaled to 0..1 and normalised by mean and standard deviation of each channel; padded pixels become 0
    after normalisation, as if the normalised frames had been padded. ``padding`` is True outside the valid (h, w).
    """

    def __init__(self, *, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__()
        self.mean = ms.Tensor(np.asarray(mean, np.float32).reshape(3, 1, 1))
        self.std = ms.Tensor(np.asarray(std, np.float32).reshape(3, 1, 1))

    def construct(self, images: ms.Tensor, sizes: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        B, T, H, W, _ = images.shape
        rows = ops.arange(0, H).reshape(1, H, 1) < part(sizes, 1, 0, 1).reshape(B, 1, 1)
        columns = ops.arange(0, W).reshape(1, 1, W) < part(sizes, 1, 1, 2).reshape(B, 1, 1)
        valid = ops.logical_and(rows, columns).reshape(B, 1, H, W)
        pixels = ops.cast(images, ms.float32).transpose(0, 1, 4, 2, 3) / 255.0  # [B, T, 3, H, W]
        # Spread by operators of their own, which MindSpore cannot fold into constants: an element-wise operator that
        # broadcasts keeps four times its result on CPU.
        mean = ops.broadcast_to(ops.depend(self.mean, pixels), pixels.shape)
        std = ops.broadcast_to(ops.depend(self.std, pixels), pixels.shape)
        outside = ops.broadcast_to(ops.logical_not(valid).expand_dims(2), pixels.shape)
        frames = ops.masked_fill((pixels - mean) / std, outside, 0.0)
        padding = ops.logical_not(valid).broadcast_to((B, T, H, W))
        return frames, padding
