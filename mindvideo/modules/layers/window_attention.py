"""Attention inside square windows of a map, with a learned bias for every relative position."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import Normal, initializer

from mindvideo.modules.layers.linear import Linear

# Added to the logits of two cells that the cyclic shift has brought into one window from opposite borders.
# PARITY(swin): a large finite number rather than minus infinity.
APART = -100.0


class WindowAttention(nn.Cell):
    """windows [W, S, C] -> [W, S, C], with S = window * window cells in each of W windows."""

    def __init__(self, *, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_width = channels // heads
        self.scale = self.head_width**-0.5
        init = Normal(0.02)
        self.relative_position_bias_table = Parameter(
            initializer(init, ((2 * window - 1) ** 2, heads)), name="relative_position_bias_table"
        )
        self.position_index = Tensor(relative_position_index(window).reshape(-1).astype(np.int32))
        self.qkv = Linear(channels, 3 * channels, weight_init=init, bias_init="zeros")
        self.proj = Linear(channels, channels, weight_init=init, bias_init="zeros")

    def construct(self, windows: ms.Tensor, apart: ms.Tensor | None) -> ms.Tensor:
        """``apart`` [windows of a map, S, S] is added to the logits, or None; W is a multiple of its first axis."""
        W, S, C = windows.shape
        qkv = self.qkv(windows).reshape(W, S, 3, self.heads, self.head_width).transpose(2, 0, 3, 1, 4)
        q, k, v = qkv[0] * self.scale, qkv[1], qkv[2]  # [W, M, S, D]
        logits = ops.matmul(q, k.transpose(0, 1, 3, 2))  # [W, M, S, S]
        bias = ops.gather(self.relative_position_bias_table, self.position_index, 0)
        logits = logits + bias.reshape(S, S, self.heads).transpose(2, 0, 1).expand_dims(0)
        if apart is not None:
            per_map = apart.shape[0]
            logits = logits.reshape(W // per_map, per_map, self.heads, S, S) + apart.reshape(1, per_map, 1, S, S)
            logits = logits.reshape(W, self.heads, S, S)
        x = ops.matmul(ops.softmax(logits, -1), v)
        return self.proj(x.transpose(0, 2, 1, 3).reshape(W, S, C))


def relative_position_index(window: int) -> np.ndarray:
    """Row of the bias table that a pair (query, key) of a window's cells uses, [S, S] integers."""
    row, column = np.divmod(np.arange(window * window), window)
    down = row[:, None] - row[None, :] + window - 1
    right = column[:, None] - column[None, :] + window - 1
    return down * (2 * window - 1) + right


@ms.ops.constexpr
def cells_apart(height: int, width: int, window: int, shift: int) -> Tensor:
    """APART where two cells of a window come from different sides of a cut, f32 [windows, S, S].

    ``height`` and ``width`` are multiples of the window; the shifted map is cut at -window and at -shift on both axes.
    """
    row, column = (np.digitize(np.arange(n), (n - window, n - shift)) for n in (height, width))
    label = row[:, None] * 3 + column[None, :]
    label = label.reshape(height // window, window, width // window, window)
    label = label.transpose(0, 2, 1, 3).reshape(-1, window * window)
    return Tensor(np.where(label[:, :, None] == label[:, None, :], 0.0, APART).astype(np.float32))


def split_windows(x: ms.Tensor, window: int) -> ms.Tensor:
    """x [B, H, W, C] with H, W multiples of the window -> [B * windows, S, C], windows in row-major order."""
    B, H, W, C = x.shape
    x = x.reshape(B, H // window, window, W // window, window, C).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, window * window, C)


def join_windows(windows: ms.Tensor, window: int, height: int, width: int) -> ms.Tensor:
    """The inverse of :func:`split_windows`: [B * windows, S, C] -> [B, height, width, C]."""
    C = windows.shape[2]
    x = windows.reshape(-1, height // window, width // window, window, window, C).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, height, width, C)


def pad_right_and_bottom(x: ms.Tensor, height: int, width: int) -> ms.Tensor:
    """x [B, H, W, C] zero padded to [B, height, width, C]."""
    B, H, W, C = x.shape
    if width > W:
        x = ops.concat((x, ops.zeros((B, H, width - W, C), x.dtype)), 2)
    if height > H:
        x = ops.concat((x, ops.zeros((B, height - H, width, C), x.dtype)), 1)
    return x


def roll(x: ms.Tensor, shift: int) -> ms.Tensor:
    """Cyclic shift of both map axes of x [B, H, W, C] by -shift (towards the origin when positive)."""
    H, W = x.shape[1], x.shape[2]
    down, right = shift % H, shift % W
    if down:
        x = ops.concat((x[:, down:], x[:, :down]), 1)
    if right:
        x = ops.concat((x[:, :, right:], x[:, :, :right]), 2)
    return x
