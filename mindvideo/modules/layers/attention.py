"""Multi-head attention whose weights are computed a block of queries at a time.

The S x S weights of a clip are what fills memory: eight heads over 36 frames of 300 x 540 need 1.2 GB a layer. Each
block of queries sees all keys, so the result is exact; the backward pass computes a block's weights again instead of
keeping them. A pass without gradients leaves it all to the compiled library where there is one.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import XavierUniform, initializer
from mindspore.ops import constexpr

from mindvideo.modules.layers.dropout import Dropout
from mindvideo.modules.layers.linear import Linear, linear
from mindvideo.modules.layers.row_order import LeadingAxes
from mindvideo.ops.dense import dense_attention, is_native_attention
from mindvideo.ops.slices import part

# Numbers in one block of weights: 64 MB in float32, small beside the activations and large enough to keep cores busy.
DEFAULT_BLOCK_ELEMENTS = 1 << 24
MOST_BLOCKS = 128  # a graph of a thousand of them does not compile: past 15,000 tokens blocks grow instead
MASKED = -1e30  # exp() of it is exactly 0, and a row that is masked everywhere stays finite

_zeros_like, _reshape, _product = ops.ZerosLike(), ops.Reshape(), ops.MatMul()


@constexpr
def rows_of_block(num_rows: int, num_columns: int, lanes: int, limit: int) -> int:
    """How many query rows one block takes so that ``lanes * rows * num_columns <= limit``, with MOST_BLOCKS at most."""
    blocks = min(MOST_BLOCKS, -(-num_rows // max(1, limit // (lanes * num_columns))))
    return -(-num_rows // blocks)  # blocks of nearly equal size


@constexpr
def _column_of_ones(rows: int, dtype: Any) -> ms.Tensor:
    return ms.Tensor(np.ones((rows, 1)), dtype)


@constexpr
def _shape_of_sums(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-1], 1)


def row_sums(x: ms.Tensor) -> ms.Tensor:
    """[..., C] -> [..., 1], as a product with ones: reductions of tensors with many axes are slow on CPU."""
    sums = _product(_reshape(x, (-1, x.shape[-1])), _column_of_ones(x.shape[-1], x.dtype))
    return _reshape(sums, _shape_of_sums(x.shape))


def rows_of_bias(bias: ms.Tensor, start: int, end: int) -> ms.Tensor:
    """[..., R or 1, S] -> that of some queries."""
    return bias if bias.shape[2] == 1 else part(bias, 2, start, end)


class _AttentionCore(nn.Cell):
    """softmax(q k^T + bias) v by blocks of query rows: q [B,M,R,D], k and v [B,M,S,D] -> [B,M,R,D].

    ``bias`` [B or 1,1,R or 1,S]; [1,1,1,1] stands for none. Two more results are for the backward pass only: in
    training the weights [B,M,R,S] when one block holds them all and ``keeps_weights``, otherwise nothing, and the
    backward pass computes them again by blocks; and the number of the step, from which dropout draws its masks
    (MindSpore 2.10 does not compile a ``bprop`` with a loop in which a Parameter is read).
    """

    half_products = False  # see execution/precision.py
    keeps_weights = True  # see training/recomputed_gradients.py

    def __init__(self, *, dropout: float, block_elements: int):
        super().__init__()
        self.block_elements = block_elements
        self.dropout = Dropout(dropout)  # its masks can be drawn a second time, so nothing need be kept of them
        self.times = ops.BatchMatMul()
        self.times_transposed = ops.BatchMatMul(transpose_b=True)
        self.transposed_times = ops.BatchMatMul(transpose_a=True)
        self.softmax = ops.Softmax(-1)

    def weights(self, q: ms.Tensor, k: ms.Tensor, bias: ms.Tensor) -> ms.Tensor:
        """[B,M,R,S]"""
        logits = self.times_transposed(q, k)
        if bias.shape[-1] == k.shape[2]:
            logits = logits + ops.broadcast_to(bias, logits.shape)
        return self.softmax(logits)

    def construct(
        self, q: ms.Tensor, k: ms.Tensor, v: ms.Tensor, bias: ms.Tensor
    ) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        iteration = self.dropout.iteration + 0
        if not self.training and is_native_attention(q.shape, q.dtype):
            return dense_attention(q, k, v, bias, self.half_products), ops.zeros((1,), q.dtype), iteration
        rows = q.shape[2]
        step = rows_of_block(rows, k.shape[2], q.shape[0] * q.shape[1], self.block_elements)
        if step >= rows:
            weights = self.weights(q, k, bias)
            kept = weights if self.keeps_weights else ops.zeros((1,), q.dtype)
            return self.times(self.dropout(weights, 0), v), kept, iteration
        blocks: list[ms.Tensor] = []
        for start in range(0, rows, step):
            q_block = part(q, 2, start, start + step)
            if blocks:  # one after the other: side by side they would need the memory of all
                q_block = ops.depend(q_block, blocks[-1])
            weights = self.weights(q_block, k, rows_of_bias(bias, start, start + step))
            blocks.append(self.times(self.dropout(weights, start), v))
        return ops.concat(blocks, axis=2), ops.zeros((1,), q.dtype), iteration

    def bprop(
        self,
        q: ms.Tensor,
        k: ms.Tensor,
        v: ms.Tensor,
        bias: ms.Tensor,
        results: tuple[ms.Tensor, ms.Tensor, ms.Tensor],
        gradients: tuple[ms.Tensor, ms.Tensor, ms.Tensor],
    ) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor, ms.Tensor]:
        rows = q.shape[2]
        step = rows_of_block(rows, k.shape[2], q.shape[0] * q.shape[1], self.block_elements)
        out, kept, iteration = results
        grad = gradients[0]
        # Sum over keys of weight * its gradient = sum over channels of output * its gradient, dropout or not.
        inner = row_sums(out * grad)
        if kept.ndim != 4:
            q = ops.depend(q, grad)  # otherwise the compiler takes weights from the forward pass
        if step >= rows:
            weights = kept if kept.ndim == 4 else self.weights(q, k, bias)
            used, grad_used = self.dropped(weights, iteration, 0), self.times_transposed(grad, v)
            grad_used = self.dropped(grad_used, iteration, 0)
            grad_q, grad_k, grad_v = self.gradients(weights, used, grad_used, q, k, grad, inner)
            return grad_q, grad_k, grad_v, _zeros_like(bias)
        grad_q = []
        grad_k = _zeros_like(k)
        grad_v = _zeros_like(v)
        for start in range(0, rows, step):
            q_block, grad_block = part(q, 2, start, start + step), part(grad, 2, start, start + step)
            if grad_q:
                q_block = ops.depend(q_block, grad_q[-1])
            weights = self.weights(q_block, k, rows_of_bias(bias, start, start + step))
            inner_block = part(inner, 2, start, start + step)
            used, grad_used = self.dropped(weights, iteration, start), self.times_transposed(grad_block, v)
            grad_used = self.dropped(grad_used, iteration, start)
            parts = self.gradients(weights, used, grad_used, q_block, k, grad_block, inner_block)
            grad_q.append(parts[0])
            grad_k = grad_k + parts[1]
            grad_v = grad_v + parts[2]
        return ops.concat(grad_q, axis=2), grad_k, grad_v, _zeros_like(bias)

    def dropped(self, x: ms.Tensor, iteration: ms.Tensor, draw: int) -> ms.Tensor:
        """As ``dropout`` does it in the forward pass of that iteration."""
        return self.dropout.masked_at(x, iteration, draw) if self.training and self.dropout.rate > 0.0 else x

    def gradients(
        self,
        weights: ms.Tensor,
        used: ms.Tensor,
        grad_used: ms.Tensor,
        q: ms.Tensor,
        k: ms.Tensor,
        grad: ms.Tensor,
        inner: ms.Tensor,
    ) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        """The share of one block of rows in the gradients of q, k and v; ``used``: its weights after dropout."""
        grad_logits = weights * (grad_used - ops.broadcast_to(inner, weights.shape))
        return self.times(grad_logits, k), self.transposed_times(grad_logits, q), self.transposed_times(used, grad)


class MultiHeadAttention(nn.Cell):
    """Scaled dot-product attention with PyTorch's packed parameters (rows of ``in_proj``: query, key, value).

    query [B,R,C], key and value [B,S,C], key_padding bool [B,S] or None (True = ignore), bias float [B or 1,1,R or 1,S]
    that is added to the logits (given instead of key_padding; it gets no gradient) -> [B,R,C].
    The query is scaled after its bias; dropout acts on the weights. ``block_elements`` bounds the numbers in a block of
    weights; a problem that fits into one block keeps its weights for the backward pass, which is faster.
    """

    half_products = False  # see execution/precision.py

    def __init__(self, *, width: int, heads: int, dropout: float = 0.0, block_elements: int = DEFAULT_BLOCK_ELEMENTS):
        super().__init__()
        if width % heads:
            raise ValueError(f"the width {width} must be a multiple of the {heads} heads")
        self.width, self.heads, self.depth = width, heads, width // heads
        self.scale = self.depth**-0.5
        self.in_proj_weight = Parameter(initializer(XavierUniform(), (3 * width, width)), name="in_proj_weight")
        self.in_proj_bias = Parameter(initializer("zeros", (3 * width,)), name="in_proj_bias")
        self.out_proj = Linear(width, width, weight_init=XavierUniform(), bias_init="zeros")
        self.core = _AttentionCore(dropout=dropout, block_elements=block_elements)
        self.swap = LeadingAxes(0, 2, 1)

    def _project(self, x: ms.Tensor, third: int) -> ms.Tensor:
        """[B,S,C] -> [B,M,S,D] by a ``third`` of the packed projection."""
        batch, length, width = x.shape
        low, high = third * width, (third + 1) * width
        weight, bias = part(self.in_proj_weight, 0, low, high), part(self.in_proj_bias, 0, low, high)
        y = linear(x.reshape(batch * length, width), weight, bias, self.half_products)
        if third == 0:
            y = y * self.scale
        return self.swap(y.reshape(batch, length, self.heads, self.depth))

    def construct(
        self,
        query: ms.Tensor,
        key: ms.Tensor,
        value: ms.Tensor,
        key_padding: ms.Tensor | None = None,
        bias: ms.Tensor | None = None,
    ) -> ms.Tensor:
        batch, rows, width = query.shape
        q = self._project(query, 0)
        k = self._project(key, 1)
        v = self._project(value, 2)
        if bias is None:
            bias = ops.zeros((1, 1, 1, 1), ms.float32)
        if key_padding is not None:
            bias = (ops.cast(key_padding, ms.float32) * MASKED).reshape(batch, 1, 1, key.shape[1])
        out = self.core(q, k, v, bias)[0]
        out = self.swap(out).reshape(batch, rows, width)  # [B, R, C]
        return self.out_proj(out)
