"""Predictions lined up with the instances they were matched to: what a loss term sees."""

from __future__ import annotations

from typing import Any, TypedDict

import mindspore as ms
from mindspore import ops

from mindvideo.modules.values import Targets
from mindvideo.ops.assignment import matched_rows, values_of

_products = ops.BatchMatMul()


class Matched(TypedDict):
    """The decoder layers that a term is asked for, [D, ...]; D is 1 for a term of the last layer only.

    ``extra`` is what a family hands to terms of its own, for instance the samples of the contrastive term.
    """

    logits: ms.Tensor  # of all queries, [D, B, Q, T, K]; [D, B, Q, 1, K] with one class a clip
    rows: ms.Tensor  # float [D, B, N, Q]: 1 at the query of each instance, zeros for an instance without one
    taken: ms.Tensor  # float [D, B, N]: 1 where the instance has a query
    supervised: ms.Tensor  # float [D, B, N, T]: 1 where that query is taught the instance
    boxes: ms.Tensor | None  # [D, B, N, T, 4], of the instances' queries; None in a model without boxes
    masks: ms.Tensor | None  # logits [D, B, N, T, h, w] at the pixels of target_masks, of the instances' queries
    target_masks: ms.Tensor | None  # float [B, N, T, h, w]
    targets: Targets
    extra: Any


def rows_of(query: ms.Tensor, num_queries: int) -> ms.Tensor:
    """query int [D, B, N] -> float [D, B, N, Q]."""
    D, B, N = query.shape
    return matched_rows(query.reshape(D * B, N), num_queries).reshape(D, B, N, num_queries)


def of_instances(rows: ms.Tensor, values: ms.Tensor) -> ms.Tensor:
    """rows [D, B, N, Q], values [D, B, Q, ...] -> the values of each instance's query [D, B, N, ...]."""
    D, B, N, Q = rows.shape
    chosen = values_of(rows.reshape(D * B, N, Q), values.reshape(D * B, *values.shape[2:]))
    return chosen.reshape(D, B, N, *values.shape[3:])


def present_by_rank(query: ms.Tensor, present: ms.Tensor) -> ms.Tensor:
    """query int [D, B, N], present float [B, N, T] -> [D, B, N, T]: row r of ``present`` for the query of rank r.

    The rank of a query is its place among the clip's matched queries in ascending order.
    """
    D, B, N = query.shape
    before = ops.logical_and(query.expand_dims(2) < query.expand_dims(3), (query >= 0).expand_dims(2))
    rank = ops.sum(ops.cast(before, ms.int32), -1)  # [D, B, N]
    chosen = ops.cast(ops.one_hot(rank, N), ms.float32).reshape(D * B, N, N)
    T = present.shape[2]
    repeated = ops.broadcast_to(present.expand_dims(0), (D, B, N, T)).reshape(D * B, N, T)
    return _products(chosen, repeated).reshape(D, B, N, T)
