"""Masks from a small network of its own for every query: its weights are predicted, its input is shared."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.common.initializer import HeUniform

from mindvideo.modules.layers.convolution import Conv2d
from mindvideo.ops.masks import dynamic_masks, is_native_dynamic_masks, join_nearest
from mindvideo.ops.slices import part

HIDDEN = 8  # width of the two hidden layers of each query's network
MASK_CHANNEL_DIVISOR = 32  # how wide the shared features are, as a fraction of the model: 8 channels for 256
STRIDE = 8  # of the published models' shared features; the masks come at half of it


def parameter_count(feature_channels: int) -> int:
    """Numbers of one query's network: three 1 x 1 layers over two coordinates and the shared features, with biases."""
    return (feature_channels + 2) * HIDDEN + HIDDEN * HIDDEN + HIDDEN + HIDDEN + HIDDEN + 1


def convolution(channels_in: int, channels_out: int) -> Conv2d:
    return Conv2d(
        channels_in,
        channels_out,
        kernel_size=3,
        padding=1,
        weight_init=HeUniform(negative_slope=1),
        bias_init="zeros",
    )


class MaskFeatures(nn.Cell):
    """The three finest maps of the encoder, [F, C, h, w] each (strides 8, 16, 32 as published) -> [F, c, h, w].

    Coarse to fine: first the coarsest map, then each finer map plus what came up from below.
    """

    def __init__(self, *, width: int, feature_channels: int) -> None:
        super().__init__()
        self.coarse = convolution(width, width)
        self.middle = convolution(width, width)
        self.fine = convolution(width, width)
        self.narrow = convolution(width, width // 4)
        self.out = convolution(width // 4, feature_channels)

    def construct(self, fine: ms.Tensor, middle: ms.Tensor, coarse: ms.Tensor) -> ms.Tensor:
        features = ops.relu(self.coarse(coarse))
        features = ops.relu(self.middle(join_nearest(features, middle)))
        features = ops.relu(self.fine(join_nearest(features, fine)))
        return ops.relu(self.out(ops.relu(self.narrow(features))))


@ops.constexpr
def cell_centres(height: int, width: int, stride: int) -> ms.Tensor:
    """Pixel position (x, y) of each cell of a map: float32 [2, H * W]."""
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    positions = np.stack([columns.reshape(-1), rows.reshape(-1)]) * stride + stride // 2
    return ms.Tensor(positions.astype(np.float32))


class DynamicMasks(nn.Cell):
    """Runs every query's network over the features of its frame.

    ``construct(features [F, c, h, w], parameters [F, N, parameter_count(c)], references [F, N, 2])`` gives logits
    [F, N, 2 h, 2 w]. ``references`` is the query's reference point in pixels; the network sees the offset from each
    cell to it, unscaled, so that it can tell its own instance from one that looks the same elsewhere.
    """

    def __init__(self, *, feature_channels: int, stride: int = STRIDE) -> None:
        super().__init__()
        self.feature_channels, self.stride = feature_channels, stride
        inputs = feature_channels + 2
        sizes = (inputs * HIDDEN, HIDDEN * HIDDEN, HIDDEN, HIDDEN, HIDDEN, 1)
        self.ends = tuple(int(end) for end in np.cumsum(sizes))
        self.in_one_step = _OneStep(self)

    def construct(self, features: ms.Tensor, parameters: ms.Tensor, references: ms.Tensor) -> ms.Tensor:
        if not self.training and is_native_dynamic_masks(features.shape, features.dtype):
            return self.in_one_step(features, parameters, references)
        return self.by_operators(features, parameters, references)

    def by_operators(self, features: ms.Tensor, parameters: ms.Tensor, references: ms.Tensor) -> ms.Tensor:
        F, c, H, W = features.shape
        N = parameters.shape[1]
        w1, w2, w3, b1, b2, b3 = self.split(parameters)
        w1 = w1.reshape(F, N, HIDDEN, c + 2)
        # W1 (reference - cell; feature) = W1 reference + W1 (-cell; feature): the sum over cells is one matrix product.
        centres = cell_centres(H, W, self.stride).expand_dims(0).broadcast_to((F, 2, H * W))
        cells = ops.cat((-centres, features.reshape(F, c, H * W)), 1)
        x = ops.matmul(w1.reshape(F, N * HIDDEN, c + 2), cells).reshape(F, N, HIDDEN, H * W)
        own = ops.sum(part(w1, -1, 0, 2) * references.expand_dims(2), -1) + b1  # [F, N, 8]
        x = ops.relu(x + ops.broadcast_to(own.expand_dims(-1), x.shape))
        x = ops.matmul(w2.reshape(F, N, HIDDEN, HIDDEN), x)
        x = ops.relu(x + ops.broadcast_to(b2.expand_dims(-1), x.shape))
        x = ops.matmul(w3.reshape(F, N, 1, HIDDEN), x)  # [F, N, 1, H * W]
        x = x + ops.broadcast_to(b3.expand_dims(-1), x.shape)
        return double_aligned(x.reshape(F, N, H, W))

    def split(self, parameters: ms.Tensor) -> tuple[ms.Tensor, ...]:
        """The six pieces of a parameter vector: three weights (each output row by row), then three biases."""
        a, b, c, d, e, _ = self.ends
        return (
            part(parameters, -1, 0, a),
            part(parameters, -1, a, b),
            part(parameters, -1, b, c),
            part(parameters, -1, c, d),
            part(parameters, -1, d, e),
            part(parameters, -1, e),
        )


class _OneStep(nn.Cell):
    """The compiled library's, which keeps nothing between the layers; its gradients are those of the operators."""

    def __init__(self, masks: DynamicMasks) -> None:
        super().__init__(auto_prefix=False)
        self.stride = masks.stride
        self.by_operators = masks.by_operators
        self.gradients = ops.GradOperation(get_all=True, sens_param=True)

    def construct(self, features: ms.Tensor, parameters: ms.Tensor, references: ms.Tensor) -> ms.Tensor:
        return dynamic_masks(features, parameters, references, self.stride)

    def bprop(
        self,
        features: ms.Tensor,
        parameters: ms.Tensor,
        references: ms.Tensor,
        output: ms.Tensor,
        gradient: ms.Tensor,
    ) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        return self.gradients(self.by_operators)(features, parameters, references, gradient)


def double_aligned(logits: ms.Tensor) -> ms.Tensor:
    """Twice the size with old values kept at odd places and means between them: [F, N, H, W] -> [F, N, 2 H, 2 W]."""
    return double_axis(double_axis(logits, 2), 3)


def double_axis(x: ms.Tensor, axis: int) -> ms.Tensor:
    """out[2 i + 1] = in[i]; out[2 i] = (in[i - 1] + in[i]) / 2; out[0] = in[0]."""
    F, N, H, W = x.shape
    if axis == 2:
        before = ops.cat((part(x, 2, 0, 1), part(x, 2, 0, -1)), 2)
        return ops.stack(((before + x) * 0.5, x), 3).reshape(F, N, 2 * H, W)
    before = ops.cat((part(x, 3, 0, 1), part(x, 3, 0, -1)), 3)
    return ops.stack(((before + x) * 0.5, x), 4).reshape(F, N, H, 2 * W)
