"""Boxes as tensors: conversions, and overlaps by broadcasting (pairs) or all against all (pairwise).

The published models differ in the small number that keeps a division finite, and their weights were trained with it:
``eps`` is added to numerator and denominator of both fractions (1e-6 in VisTR, 0 in the DETR line).
"""

from __future__ import annotations

import mindspore as ms
from mindspore import ops

from mindvideo.ops.slices import at, part


def cxcywh_to_xyxy(boxes: ms.Tensor) -> ms.Tensor:
    """[..., 4] centre and size -> [..., 4] upper left and lower right corner."""
    centre, half = part(boxes, -1, 0, 2), part(boxes, -1, 2) * 0.5
    return ops.concat((centre - half, centre + half), axis=-1)


def xyxy_to_cxcywh(boxes: ms.Tensor) -> ms.Tensor:
    """[..., 4] corners -> [..., 4] centre and size."""
    low, high = part(boxes, -1, 0, 2), part(boxes, -1, 2)
    return ops.concat(((low + high) * 0.5, high - low), axis=-1)


def area(boxes: ms.Tensor) -> ms.Tensor:
    """[..., 4] xyxy -> [...]; negative sides are not clipped."""
    return (at(boxes, -1, 2) - at(boxes, -1, 0)) * (at(boxes, -1, 3) - at(boxes, -1, 1))


def _ratio(numerator: ms.Tensor, denominator: ms.Tensor, eps: float) -> ms.Tensor:
    if eps > 0.0:
        return (numerator + eps) / (denominator + eps)
    # Two boxes without area: 0, not NaN. Padding rows are such boxes and must not spoil a gradient.
    empty = denominator <= 0.0
    return ops.select(
        empty, ops.zeros_like(numerator), numerator / ops.select(empty, ops.ones_like(denominator), denominator)
    )


def iou_and_union(first: ms.Tensor, second: ms.Tensor, *, eps: float = 0.0) -> tuple[ms.Tensor, ms.Tensor]:
    """IoU and union of xyxy boxes whose leading axes broadcast: [..., 4], [..., 4] -> [...], [...]."""
    low = ops.maximum(part(first, -1, 0, 2), part(second, -1, 0, 2))
    high = ops.minimum(part(first, -1, 2), part(second, -1, 2))
    side = ops.relu(high - low)
    intersection = at(side, -1, 0) * at(side, -1, 1)
    union = area(first) + area(second) - intersection
    return _ratio(intersection, union, eps), union


def iou(first: ms.Tensor, second: ms.Tensor, *, eps: float = 0.0) -> ms.Tensor:
    """IoU of xyxy boxes whose leading axes broadcast: [..., 4], [..., 4] -> [...]."""
    return iou_and_union(first, second, eps=eps)[0]


def giou(first: ms.Tensor, second: ms.Tensor, *, eps: float = 0.0) -> ms.Tensor:
    """Generalised IoU of xyxy boxes whose leading axes broadcast: [..., 4], [..., 4] -> [...]."""
    overlap, union = iou_and_union(first, second, eps=eps)
    low = ops.minimum(part(first, -1, 0, 2), part(second, -1, 0, 2))
    high = ops.maximum(part(first, -1, 2), part(second, -1, 2))
    side = ops.relu(high - low)
    hull = at(side, -1, 0) * at(side, -1, 1)
    return overlap - _ratio(hull - union, hull, eps)


def pairwise_iou(first: ms.Tensor, second: ms.Tensor, *, eps: float = 0.0) -> ms.Tensor:
    """xyxy [..., Q, 4] against [..., N, 4] -> [..., Q, N]."""
    return iou(first.expand_dims(-2), second.expand_dims(-3), eps=eps)


def pairwise_giou(first: ms.Tensor, second: ms.Tensor, *, eps: float = 0.0) -> ms.Tensor:
    """xyxy [..., Q, 4] against [..., N, 4] -> [..., Q, N]."""
    return giou(first.expand_dims(-2), second.expand_dims(-3), eps=eps)
