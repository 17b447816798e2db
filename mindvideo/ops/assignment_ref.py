"""The optimal assignment written with MindSpore's own operators: the twin of the native kernel.

Shortest augmenting paths with dual variables (the Hungarian method in Jonker and Volgenant's form), every problem of
the batch advancing by one step per turn of a single `while` loop, so that the graph stays small whatever the sizes are.
"""

from __future__ import annotations

import mindspore
from mindspore import Tensor, ops
from mindspore import dtype as mstype
from mindspore.ops import constexpr

UNREACHED = 1e300
UNREACHED_FLOAT32 = 3e38

Duals = tuple[Tensor, Tensor]  # of rows [B, N] and of columns [B, columns]
Search = tuple[Tensor, Tensor, Tensor, Tensor]  # distance, previous, in_tree [B, columns], row_in_tree [B, N]


@constexpr
def _working_type() -> mstype.Type:
    """float64, so that the optimum is exact for float32 costs; Ascend has no float64 arithmetic."""
    return mstype.float32 if mindspore.get_context("device_target") == "Ascend" else mstype.float64


@constexpr
def _unreached() -> float:
    return UNREACHED_FLOAT32 if mindspore.get_context("device_target") == "Ascend" else UNREACHED


def _pick(table: Tensor, index: Tensor) -> Tensor:
    """table [B, X] at one index per row: index int32 [B] -> [B, 1]."""
    return ops.gather_elements(table, 1, ops.expand_dims(index, 1))


def _finite_costs(cost: Tensor, N: int, Q: int) -> Tensor:
    """cost [B, Q, N] -> [B, N, 1 + max(Q, N)] in the working type, without NaN or infinities.

    Column 0 is the start of every search. Surplus instances (N > Q) get columns of their own that cost more than any
    complete matching; a pair that is not finite costs more than any matching of finite pairs.
    """
    B = cost.shape[0]
    cost = cost.transpose(0, 2, 1).astype(_working_type())
    finite = ops.isfinite(cost)
    cost = ops.select(finite, cost, ops.zeros_like(cost))
    limit = (ops.abs(cost).max(axis=(1, 2), keepdims=True) + 1.0) * (4.0 * (min(N, Q) + 1))
    cost = ops.select(finite, cost, ops.zeros_like(cost) + limit)
    start = ops.zeros((B, N, 1), cost.dtype)
    if N > Q:
        surplus = ops.zeros((B, N, N - Q), cost.dtype) + limit * (4.0 * (min(N, Q) + 1))
        return ops.concat((start, cost, surplus), 2)
    return ops.concat((start, cost), 2)


def _grow(
    flat_cost: Tensor, row_of: Tensor, duals: Duals, search: Search, grow: Tensor, column: Tensor
) -> tuple[Duals, Search, Tensor]:
    """One step of the search: add `column` and its row to the tree, relax, and find the nearest column.

    duals: (row_dual [B, N], column_dual [B, columns]). search: (distance, previous, in_tree [B, columns], row_in_tree
    [B, N]). grow bool [B, 1]: problems that are searching. Returns new duals, new search, nearest int32 [B].
    """
    (row_dual, column_dual), (distance, previous, in_tree, row_in_tree) = duals, search
    B, columns = distance.shape
    N = row_dual.shape[1]
    column_ids = ops.arange(columns, dtype=mstype.int32).reshape(1, columns)
    row_ids = ops.arange(N, dtype=mstype.int32).reshape(1, N)
    in_tree = in_tree.logical_or(grow.logical_and(column_ids == ops.expand_dims(column, 1)))
    row = ops.maximum(_pick(row_of, column), 0)  # [B, 1]
    row_in_tree = row_in_tree.logical_or(grow.logical_and(row_ids == row))
    row = row.reshape(B)
    reduced = ops.gather(flat_cost, ops.arange(B, dtype=mstype.int32) * N + row, 0)
    reduced = reduced - _pick(row_dual, row) - column_dual
    outside = ops.logical_not(in_tree)
    shorter = grow.logical_and(outside).logical_and(reduced < distance)
    distance = ops.select(shorter, reduced, distance)
    previous = ops.select(shorter, ops.zeros_like(previous) + ops.expand_dims(column, 1), previous)
    reachable = ops.select(outside, distance, ops.full_like(distance, _unreached()))
    nearest = ops.argmin(reachable, axis=1).astype(mstype.int32)
    step = ops.select(grow, _pick(reachable, nearest), ops.zeros((B, 1), distance.dtype))
    row_dual = row_dual + step * row_in_tree.astype(distance.dtype)
    column_dual = column_dual - step * in_tree.astype(distance.dtype)
    distance = distance - step * outside.astype(distance.dtype)
    return (row_dual, column_dual), (distance, previous, in_tree, row_in_tree), nearest


def _read_result(row_of: Tensor, valid: Tensor, Q: int) -> Tensor:
    """row_of int32 [B, columns] -> the query of every instance, int32 [B, N], -1 without one."""
    B, N = valid.shape
    matched = ops.expand_dims(row_of[:, 1 : Q + 1], 2) == ops.arange(N, dtype=mstype.int32).reshape(
        1, 1, N
    )  # [B, Q, N]
    query = ops.argmax(matched.astype(mstype.int32), 1).astype(mstype.int32)
    return ops.select(matched.any(axis=1).logical_and(valid), query, ops.full_like(query, -1))


def assignment_ref(cost: Tensor, valid: Tensor) -> Tensor:
    """cost [B, Q, N], valid bool [B, N] -> the query of every instance, int32 [B, N], -1 without one."""
    B, Q, N = cost.shape
    # The loop has no gradient, and the compiler must not look for one.
    cost = ops.stop_gradient(_finite_costs(ops.stop_gradient(cost), N, Q))
    columns = cost.shape[2]
    flat_cost = cost.reshape(B * N, columns)
    column_ids = ops.arange(columns, dtype=mstype.int32).reshape(1, columns)
    unreached = ops.full((B, columns), _unreached(), dtype=cost.dtype)
    row_of = ops.full((B, columns), -1, dtype=mstype.int32)  # the row that each column is matched to, -1 when free
    duals = (ops.zeros((B, N), cost.dtype), ops.zeros((B, columns), cost.dtype))
    nothing, no_row = ops.zeros((B, columns), mstype.bool_), ops.zeros((B, N), mstype.bool_)
    search = (unreached, ops.zeros((B, columns), mstype.int32), nothing, no_row)
    column, root = ops.zeros((B,), mstype.int32), ops.zeros((B,), mstype.int32)
    augmenting = ops.zeros((B,), mstype.bool_)
    # A row takes at most N turns to search, N to augment and one to begin: the loop ends whatever the numbers are.
    turn = ops.zeros((), mstype.int32)
    while ops.logical_and(turn < N * (2 * N + 3), (root < N).any()):
        turn = turn + 1
        row, active = ops.minimum(root, N - 1), root < N
        skip = active.logical_and(ops.logical_not(_pick(valid, row).reshape(B)))
        searching = active.logical_and(ops.logical_not(skip)).logical_and(ops.logical_not(augmenting))
        lifting = active.logical_and(augmenting)
        row_of = ops.select(column_ids == 0, ops.expand_dims(row, 1), row_of)
        duals, search, nearest = _grow(flat_cost, row_of, duals, search, ops.expand_dims(searching, 1), column)
        distance, previous, in_tree, row_in_tree = search
        free = (_pick(row_of, nearest) < 0).reshape(B)

        # One step back along the path: `column` takes over the row of its predecessor.
        before = _pick(previous, column).reshape(B)
        take = ops.expand_dims(lifting, 1).logical_and(column_ids == ops.expand_dims(column, 1))
        row_of = ops.select(take, ops.zeros_like(row_of) + _pick(row_of, before), row_of)
        column = ops.select(searching, nearest, ops.select(lifting, before, column))
        finished = skip.logical_or(lifting.logical_and(column == 0))
        augmenting = ops.select(searching, free, augmenting.logical_and(ops.logical_not(finished)))
        root = root + finished.astype(mstype.int32)
        column = ops.select(finished, ops.zeros_like(column), column)
        renew = ops.expand_dims(finished, 1)
        keep = ops.logical_not(renew)
        distance = ops.select(renew, unreached, distance)
        search = (distance, previous, in_tree.logical_and(keep), row_in_tree.logical_and(keep))
    return _read_result(row_of, valid, Q)
