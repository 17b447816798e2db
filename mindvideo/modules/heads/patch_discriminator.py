"""Tells annotated masks from predicted ones, patch by patch, by the frame and what the encoder made of it."""

from __future__ import annotations

import mindspore as ms
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import HeUniform, initializer

from mindvideo.modules.layers.norm import LayerNorm

LEAK = 0.2
COLOURS = 3
DEFAULT_SLOPE = 5**0.5  # uniform within 1 / sqrt(inputs), as convolutions usually begin


def kernel(channels_in: int, channels_out: int) -> ms.Tensor:
    return initializer(HeUniform(negative_slope=DEFAULT_SLOPE), (channels_out, channels_in, 3, 3))


class Kernel(nn.Cell):
    """A 3 x 3 convolution without a bias; ``weight`` is there for others to cut in parts."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.weight = Parameter(kernel(channels_in, channels_out), name="weight")

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return ops.conv2d(x, self.weight, padding=1, pad_mode="pad")


class PatchBlock(nn.Cell):
    """Leaky ReLU (not in the first block), convolution, and a norm over the channels of each cell (where asked for)."""

    def __init__(self, channels_in: int, channels_out: int, *, leaky: bool, normed: bool) -> None:
        super().__init__()
        self.leaky = leaky
        self.conv = Kernel(channels_in, channels_out)
        self.norm = LayerNorm(channels_out, epsilon=1e-6) if normed else None

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        if self.leaky:
            x = ops.maximum(x, x * LEAK)
        x = self.conv(x)
        if self.norm is None:
            return x
        return self.norm(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


class PatchDiscriminator(nn.Cell):
    """Frames, features and masks at the finest level's grid -> for each mask the logits of being annotated.

    ``construct(frames [F, 3, h, w], features ([F, C, h, w] and two of half the size of the one before), *masks)`` with
    masks [F, 1, h, w] in 0..1 gives one map [F, 1, h4, w4] a mask, a quarter of the size, rounded up; a sigmoid of it
    is a probability. What the masks of a frame have in common is computed once: a convolution of all channels is the
    sum of those of frame and features and of the mask.
    """

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = Kernel(COLOURS + width + 1, width), Kernel(width, width)
        self.pool = nn.MaxPool2d(3, 2, pad_mode="pad", padding=1)
        channels = (width, width // 4, width // 2, width, 2 * width, 1)
        self.discriminator_blocks = nn.CellList(
            [PatchBlock(*channels[number : number + 2], leaky=number > 0, normed=0 < number < 4) for number in range(5)]
        )

    def construct(self, frames: ms.Tensor, features: tuple[ms.Tensor, ...], *masks: ms.Tensor) -> tuple[ms.Tensor, ...]:
        fine, middle, coarse = features
        weight = self.conv1.weight
        shared = ops.conv2d(ops.cat((frames, fine), 1), weight[:, :-1], padding=1, pad_mode="pad")
        logits: tuple[ms.Tensor, ...] = ()
        for mask in masks:
            x = self.pool(shared + ops.conv2d(mask, weight[:, -1:], padding=1, pad_mode="pad")) + middle
            x = self.pool(self.conv2(x)) + coarse
            for block in self.discriminator_blocks:
                x = block(x)
            logits += (x,)
        return logits
