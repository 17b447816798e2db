"""Attention of every query to every key by the compiled library, which never writes the weights to memory."""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, ops
from mindspore.ops import constexpr

from mindvideo.ops.backend import has_wide_vectors, is_native, native_op


def dense_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """softmax(query key^T + bias) value: [B,M,R,D], key and value [B,M,S,D], bias [B or 1, 1, R or 1, S] -> [B,M,R,D].

    ``bias`` [1,1,1,1] stands for none. Without a gradient: only where :func:`is_fused` says so.
    """
    return _dense_attention_op()(query, key, value, bias)


@constexpr
def is_fused(shape: tuple[int, ...], dtype: Any) -> bool:
    """Whether the library does it, for queries of this shape; a constant inside graphs."""
    return is_native("dense_attention", shape, dtype) and has_wide_vectors()


def _like_query(query: Any, *others: Any) -> Any:
    return query


@constexpr
def _dense_attention_op() -> ops.Custom:
    return native_op("DenseAttention", out_shape=_like_query, out_dtype=_like_query)
