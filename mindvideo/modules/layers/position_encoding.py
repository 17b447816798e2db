"""Sine position codes of the positions that are not padding. No parameters; channels come last."""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

EPSILON = 1e-6  # keeps the normalisation of a fully padded row or column finite


class _AxisCode(nn.Cell):
    """Interleaved sine and cosine code of one coordinate: [...] -> [..., N] with N features."""

    def __init__(self, *, features: int, temperature: float):
        super().__init__()
        if features % 2:
            raise ValueError(f"a sine code needs an even number of features an axis, got {features}")
        # In float64 and rounded once: a float32 power is off by up to 1e-6 relative, and differently on each backend.
        pairs = np.arange(features // 2, dtype=np.float64)
        self.frequencies = Tensor((temperature ** (2 * pairs / features)).astype(np.float32))
        self.features = features

    def construct(self, coordinate: ms.Tensor) -> ms.Tensor:
        angle = coordinate.expand_dims(-1) / self.frequencies  # [..., N/2]
        code = ops.stack((ops.sin(angle), ops.cos(angle)), axis=-1)  # [..., N/2, 2]
        return code.reshape(coordinate.shape + (self.features,))


class _SinePositions(nn.Cell):
    """The part that the 2-D and the 3-D code share: counting along an axis, and scaling the count to an angle."""

    def __init__(self, *, features: int, temperature: float, normalize: bool, offset: float):
        super().__init__()
        self.axis_code = _AxisCode(features=features, temperature=temperature)
        self.normalize = normalize
        self.offset = offset
        self.scale = 2 * math.pi

    def coordinate(self, valid: ms.Tensor, axis: int) -> ms.Tensor:
        """Running count of valid positions along ``axis``, scaled so that its last value is a full turn."""
        count = ops.cumsum(valid, axis)
        if not self.normalize:
            return count
        last = ops.narrow(count, axis, valid.shape[axis] - 1, 1)
        if self.offset != 0.0:
            count = count + self.offset
        return count / (last + EPSILON) * self.scale


class SinePositions2d(_SinePositions):
    """The image code: ``padding`` bool [B,H,W] -> [B,H,W,2*features], the y half first.

    ``offset`` is added to the count before it is normalised: 0 in DETR, -0.5 (pixel centres) in Deformable DETR.
    """

    def __init__(self, *, features: int, offset: float = 0.0, temperature: float = 10000.0, normalize: bool = True):
        super().__init__(features=features, temperature=temperature, normalize=normalize, offset=offset)

    def construct(self, padding: ms.Tensor) -> ms.Tensor:
        valid = 1.0 - ops.cast(padding, ms.float32)
        y = self.coordinate(valid, 1)
        x = self.coordinate(valid, 2)
        return ops.concat((self.axis_code(y), self.axis_code(x)), axis=-1)  # [B, H, W, C]


class SinePositions3d(_SinePositions):
    """The clip code: ``padding`` bool [B,T,H,W] -> [B,T,H,W,3*features], time first, then y, then x."""

    def __init__(self, *, features: int, temperature: float = 10000.0, normalize: bool = True):
        super().__init__(features=features, temperature=temperature, normalize=normalize, offset=0.0)

    def construct(self, padding: ms.Tensor) -> ms.Tensor:
        valid = 1.0 - ops.cast(padding, ms.float32)
        z = self.coordinate(valid, 1)
        y = self.coordinate(valid, 2)
        x = self.coordinate(valid, 3)
        return ops.concat((self.axis_code(z), self.axis_code(y), self.axis_code(x)), axis=-1)  # [B, T, H, W, C]
