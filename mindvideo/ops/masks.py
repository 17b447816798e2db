"""Resizing of maps and masks with PyTorch's choice of source positions, which the published models learned with, and
masks from a network of each query by the compiled library.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops
from mindspore.ops import constexpr

from mindvideo.ops.backend import is_native, native_op
from mindvideo.ops.native_call import like_first, numbers, told_apart, two_like_first


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


def join_nearest(x: ms.Tensor, fine: ms.Tensor) -> ms.Tensor:
    """x at the size of ``fine``, which is added to the Q maps of its frame: [F*Q, C, h, w], [F, C, H, W] ->
    [F*Q, C, H, W]."""
    height, width = fine.shape[2:]
    if is_native_join(x.shape, x.dtype):
        rows, columns = _nearest_index(x.shape[2], height), _nearest_index(x.shape[3], width)
        return _join_op()(x, fine, rows, columns)
    x = resize_nearest(x, height, width)
    if x.shape == fine.shape:
        return x + fine
    own = x.reshape(fine.shape[0], -1, *fine.shape[1:])  # [F, Q, C, H, W]
    # Spread by itself: on CPU an operator that broadcasts keeps four times its result for the backward pass.
    return (own + ops.broadcast_to(fine.expand_dims(1), own.shape)).reshape(x.shape)


def dynamic_masks(features: ms.Tensor, parameters: ms.Tensor, references: ms.Tensor, stride: int) -> ms.Tensor:
    """modules/heads/dynamic_mask.py in one step: features [F,C,H,W], parameters [F,N,.], references [F,N,2] ->
    [F,N,2H,2W]. It has no gradient."""
    return _dynamic_masks_op()(features, parameters, references, numbers(stride))


@constexpr
def is_native_join(shape: tuple[int, ...], dtype: Any) -> bool:
    """For maps of this shape; a constant inside graphs."""
    return is_native("join_nearest", shape, dtype)


@constexpr
def is_native_dynamic_masks(shape: tuple[int, ...], dtype: Any) -> bool:
    """For features of this shape; a constant inside graphs."""
    return is_native("dynamic_masks", shape, dtype)


def resize_bilinear(maps: ms.Tensor, height: int, width: int) -> ms.Tensor:
    """float [B, C, H, W] -> [B, C, height, width]; half-pixel centres, edges repeated, not antialiased."""
    if maps.shape[-2:] == (height, width):
        return maps
    return ops.interpolate(maps, size=(height, width), mode="bilinear", align_corners=False)


def resize_padding(padding: ms.Tensor, height: int, width: int) -> ms.Tensor:
    """A padding mask, bool [..., H, W] -> bool [..., height, width], by nearest source."""
    return resize_nearest(padding, height, width)


def _joined(x: Any, fine: Any, rows: Any, columns: Any) -> Any:
    return [*x[:2], *fine[2:]]


def _join_bprop(
    x: Tensor, fine: Tensor, rows: Tensor, columns: Tensor, output: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    of_x, of_fine = _join_gradient_op(*x.shape[2:], fine.shape[0])(gradient, rows, columns)
    return of_x, of_fine, ops.zeros_like(rows), ops.zeros_like(columns)


@constexpr
def _join_op() -> ops.Custom:
    return native_op("JoinNearest", out_shape=_joined, out_dtype=like_first, bprop=_join_bprop)


@constexpr
def _join_gradient_op(height: int, width: int, frames: int) -> ops.Custom:
    def shapes_of_inputs(gradient: Any, *others: Any) -> Any:
        return [*gradient[:2], height, width], [frames, *gradient[1:]]

    op = native_op("JoinNearestGradient", out_shape=shapes_of_inputs, out_dtype=two_like_first)
    return told_apart(op, height, width, frames)


def _doubled(features: Any, parameters: Any, *others: Any) -> Any:
    return [*parameters[:2], 2 * features[2], 2 * features[3]]


@constexpr
def _dynamic_masks_op() -> ops.Custom:
    return native_op("DynamicMasks", out_shape=_doubled, out_dtype=like_first)
