"""Frozen norms folded into the convolution in front of them, against float64."""

from __future__ import annotations

import mindspore as ms
import numpy as np

from mindvideo.modules.layers.convolution import Convolution
from mindvideo.modules.layers.frozen_norm import FrozenBatchNorm


def test_folding_is_as_precise_as_the_originals_order():
    """The original scales the map after the convolution; ours scales the kernel before it."""
    rng = np.random.default_rng(0)
    channels, side = 64, 12
    conv, norm = Convolution(channels, channels, 1), FrozenBatchNorm(channels)
    values = {
        "weight": rng.uniform(0.2, 2.0, channels),
        "bias": rng.normal(size=channels),
        "running_mean": rng.normal(size=channels),
        "running_var": rng.uniform(0.05, 4.0, channels),
    }
    for name, value in values.items():
        getattr(norm, name).set_data(ms.Tensor(value.astype(np.float32)))
    conv.weight.set_data(ms.Tensor(rng.normal(size=conv.weight.shape).astype(np.float32)))
    x = rng.normal(size=(4, channels, side, side)).astype(np.float32)
    exact = in_float64(conv, norm, x)
    folded, as_original = (
        np.sqrt(np.square(got.asnumpy() - exact).mean())
        for got in (norm.after(conv, ms.Tensor(x)), norm(conv(ms.Tensor(x))))
    )
    assert folded <= 1.1 * as_original, (folded, as_original)
    assert folded <= 1e-6 * np.abs(exact).max()


def in_float64(conv: Convolution, norm: FrozenBatchNorm, x: np.ndarray) -> np.ndarray:
    weight, bias, mean, variance = (
        getattr(norm, name).asnumpy().astype(np.float64) for name in ("weight", "bias", "running_mean", "running_var")
    )
    kernel = conv.weight.asnumpy()[:, :, 0, 0].astype(np.float64)
    y = np.einsum("oc,nchw->nohw", kernel, x.astype(np.float64))
    scale = weight / np.sqrt(variance + norm.eps)
    return y * scale[:, None, None] + (bias - mean * scale)[:, None, None]
