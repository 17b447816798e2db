"""Reference points and boxes: where a query starts to look, and how a decoder layer moves that place."""

from __future__ import annotations

import mindspore as ms
from mindspore import ops

from mindvideo.ops.slices import at, part


def inverse_sigmoid(x: ms.Tensor) -> ms.Tensor:
    """Logit of x, with x and 1 - x kept at 1e-5 or more."""
    x = ops.clamp(x, 0.0, 1.0)
    return ops.log(ops.maximum(x, ms.Tensor(1e-5, ms.float32)) / ops.maximum(1.0 - x, ms.Tensor(1e-5, ms.float32)))


def scale_reference(reference: ms.Tensor, valid_ratios: ms.Tensor) -> ms.Tensor:
    """From the valid area to each padded level: [B, Q, 2 or 4] and [B, L, 2] -> [B, Q, L, 2 or 4]."""
    ratios = valid_ratios
    if reference.shape[-1] == 4:
        ratios = ops.cat((valid_ratios, valid_ratios), -1)
    return reference.expand_dims(2) * ratios.expand_dims(1)


def refine(reference: ms.Tensor, change: ms.Tensor) -> ms.Tensor:
    """The box after adding a change [..., 4] to the logit of a reference; a point [..., 2] has no size to add to."""
    start = inverse_sigmoid(reference)
    if reference.shape[-1] == 2:
        return ops.sigmoid(ops.cat((part(change, -1, 0, 2) + start, part(change, -1, 2)), -1))
    return ops.sigmoid(change + start)


def in_pixels(points: ms.Tensor, sizes: ms.Tensor) -> ms.Tensor:
    """Points (x, y) in units of the valid area [F, N, 2], that area [F, 2] as (h, w) -> [F, N, 2] in pixels."""
    # Through the logit and back, as published: it keeps the points 1e-5 away from the edges.
    points = ops.sigmoid(inverse_sigmoid(points))
    height_width = ops.cast(sizes, ms.float32)
    return points * ops.stack((at(height_width, 1, 1), at(height_width, 1, 0)), -1).expand_dims(1)
