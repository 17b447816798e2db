"""Resizing of maps and masks with PyTorch's choice of source positions, which the published models learned with."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops
from mindspore.ops import constexpr


def nearest_sources(length: int, new_length: int) -> np.ndarray:
    """Source index of each of ``new_length`` positions: floor(i * length / new_length), the scale in float32."""
    scale = np.float32(length) / np.float32(new_length)
    sources = np.floor(np.arange(new_length, dtype=np.float32) * scale).astype(np.int32)
    return np.minimum(sources, length - 1)


@constexpr
def _nearest_index(length: int, new_length: int) -> Tensor:
    return Tensor(nearest_sources(length, new_length))


def resize_nearest(maps: ms.Tensor, height: int, width: int) -> ms.Tensor:
    """[..., H, W] of any type -> [..., height, width]; differentiable for float maps."""
    rank = len(maps.shape)
    if rank == 4 and maps.dtype == ms.float32 and maps.shape[-2:] != (height, width):
        return ops.interpolate(maps, size=(height, width), mode="nearest")  # same positions, faster than gathering
    if maps.shape[-2] != height:
        maps = ops.gather(maps, _nearest_index(maps.shape[-2], height), rank - 2)
    if maps.shape[-1] != width:
        maps = ops.gather(maps, _nearest_index(maps.shape[-1], width), rank - 1)
    return maps


def resize_bilinear(maps: ms.Tensor, height: int, width: int) -> ms.Tensor:
    """float [B, C, H, W] -> [B, C, height, width]; half-pixel centres, edges repeated, not antialiased."""
    if maps.shape[-2:] == (height, width):
        return maps
    return ops.interpolate(maps, size=(height, width), mode="bilinear", align_corners=False)


def resize_padding(padding: ms.Tensor, height: int, width: int) -> ms.Tensor:
    """A padding mask, bool [..., H, W] -> bool [..., height, width], by nearest source."""
    return resize_nearest(padding, height, width)
