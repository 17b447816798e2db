"""Attention within each of many short sequences, such as the states of one cell of a map in the frames of a clip."""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from mindvideo.modules.layers.attention import DEFAULT_BLOCK_ELEMENTS, MASKED, _AttentionCore, row_sums
from mindvideo.ops.dense import is_native_short_attention, short_attention
from mindvideo.ops.slices import part, swapped


class ShortAttention(nn.Cell):
    """query [N, R, .], key and value [N, S, .], ``absent`` bool [1, S], the keys that nobody looks at -> [N, R, C].

    ``begins``: where the ``width`` channels of query, key and value begin, so that one tensor can hold several of them.
    In passes without gradients the compiled library reads the heads where they lie.
    """

    def __init__(self, *, width: int, heads: int, begins: tuple[int, int, int] = (0, 0, 0)) -> None:
        super().__init__()
        self.layout = (width, heads, *begins)
        self.scale = (width // heads) ** -0.5
        self.core = _AttentionCore(dropout=0.0, block_elements=DEFAULT_BLOCK_ELEMENTS)
        self.in_one_step = _OneStep(self)

    def construct(
        self, query: ms.Tensor, key: ms.Tensor, value: ms.Tensor, absent: ms.Tensor | None = None
    ) -> ms.Tensor:
        if not self.training and is_native_short_attention(query.shape, query.dtype):
            return self.in_one_step(query, key, value, bias_of(absent))
        return self.by_heads(query, key, value, bias_of(absent))

    def by_heads(self, query: ms.Tensor, key: ms.Tensor, value: ms.Tensor, bias: ms.Tensor) -> ms.Tensor:
        """``bias`` [S], or [1, 1, 1, 1] for none."""
        query, key, value = self.scaled_heads(query, key, value)
        return merged(self.core(query, key, value, bias.reshape(1, 1, 1, -1))[0])

    def scaled_heads(
        self, query: ms.Tensor, key: ms.Tensor, value: ms.Tensor
    ) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        """[N, M, R or S, C / M] each, the queries scaled."""
        width, heads, of_query, of_key, of_value = self.layout
        query, key = heads_of(query, of_query, width, heads), heads_of(key, of_key, width, heads)
        return query * self.scale, key, heads_of(value, of_value, width, heads)

    def gradients(
        self,
        query: ms.Tensor,
        key: ms.Tensor,
        value: ms.Tensor,
        bias: ms.Tensor,
        output: ms.Tensor,
        gradient: ms.Tensor,
    ) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        """Those of query, key and value."""
        width, heads, of_query, of_key, of_value = self.layout
        q, k, v = self.scaled_heads(query, key, value)
        output, gradient = heads_of(output, 0, width, heads), heads_of(gradient, 0, width, heads)
        weights = self.core.weights(q, k, bias.reshape(1, 1, 1, -1))
        inner, of_weights = row_sums(output * gradient), self.core.times_transposed(gradient, v)
        of_q, of_k, of_v = self.core.gradients(weights, weights, of_weights, q, k, gradient, inner)
        of_q = of_q * self.scale
        return placed(of_q, of_query, query), placed(of_k, of_key, key), placed(of_v, of_value, value)


class _OneStep(nn.Cell):
    """The compiled library's; a network in evaluation can be differentiated, too.

    (Gradients of ``by_heads`` would be wrong: MindSpore gives one tensor in three places the sum of their gradients in
    each of them.)
    """

    def __init__(self, attention: ShortAttention) -> None:
        super().__init__(auto_prefix=False)
        self.layout, self.scale = attention.layout, attention.scale
        self.gradients = attention.gradients

    def construct(self, query: ms.Tensor, key: ms.Tensor, value: ms.Tensor, bias: ms.Tensor) -> ms.Tensor:
        return short_attention(query, key, value, bias, self.layout, self.scale)

    def bprop(
        self,
        query: ms.Tensor,
        key: ms.Tensor,
        value: ms.Tensor,
        bias: ms.Tensor,
        output: ms.Tensor,
        gradient: ms.Tensor,
    ) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor, ms.Tensor]:
        return (*self.gradients(query, key, value, bias, output, gradient), ops.zeros_like(bias))


def heads_of(x: ms.Tensor, begin: int, width: int, heads: int) -> ms.Tensor:
    """[N, R, .] -> [N, M, R, C / M]: C = ``width`` channels from ``begin`` on."""
    N, R, held = x.shape
    x = x if held == width else part(x, -1, begin, begin + width)
    return swapped(x.reshape(N, R, heads, width // heads), 1, 2)


def merged(x: ms.Tensor) -> ms.Tensor:
    """[N, M, R, C / M] -> [N, R, C]."""
    N, M, R, D = x.shape
    return swapped(x, 1, 2).reshape(N, R, M * D)


def placed(x: ms.Tensor, begin: int, like: ms.Tensor) -> ms.Tensor:
    """The inverse of :func:`heads_of`, with zeros in the other channels: [N, M, R, C / M] -> the shape of ``like``."""
    x = merged(x)
    N, R, width = x.shape
    before, after = ops.zeros((N, R, begin), x.dtype), ops.zeros((N, R, like.shape[2] - width - begin), x.dtype)
    return x if like.shape[2] == width else ops.cat((before, x, after), 2)


def bias_of(absent: ms.Tensor | None) -> ms.Tensor:
    """bool [1, S] -> what is added to the logits [S]; None -> [1, 1, 1, 1], which stands for nothing."""
    if absent is None:
        return ops.zeros((1, 1, 1, 1), ms.float32)
    return (ops.cast(absent, ms.float32) * MASKED).reshape(-1)
