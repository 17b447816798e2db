"""The optimal one-to-one assignment of queries to instances, solved inside the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mindspore import Tensor, ops
from mindspore import dtype as mstype
from mindspore.ops import constexpr

from mindvideo.errors import UserError
from mindvideo.ops.assignment_ref import assignment_ref
from mindvideo.ops.backend import has_native_library, in_graph, native_op

_products = ops.BatchMatMul()


def assignment(cost: Tensor, valid: Tensor) -> Tensor:
    """Give every valid instance its own query so that the sum of costs is least (the Hungarian assignment).

    cost [B, Q, N]: cost of pairing query and instance. valid bool [B, N]: False for padding, whose costs are ignored.
    Returns int32 [B, N]: the query of each instance; -1 for padding and for instances left over when N > Q.

    Costs that are not finite, in valid columns: a UserError when run step by step. A compiled graph cannot stop half
    way: there NaN and infinities count as a cost larger than any finite assignment, so that such a pair is taken only
    when nothing else is left. No gradient flows.
    """
    check_arguments(cost.shape, valid.shape)
    B, Q, N = cost.shape
    cost = ops.stop_gradient(cost).astype(mstype.float32)
    valid = valid.astype(mstype.bool_)
    if not in_graph():
        check_finite(cost, valid)
    if B * N == 0 or Q == 0:
        return ops.full((B, N), -1, dtype=mstype.int32)
    if has_native_library():
        result = _assignment_op()(cost, valid)
    else:
        result = assignment_ref(cost, valid)
    return ops.stop_gradient(result)


@constexpr
def check_arguments(cost: Sequence[int], valid: Sequence[int]) -> bool:
    """Compare shapes with each other; the message names what was expected and what came."""
    if len(cost) != 3 or tuple(valid) != (cost[0], cost[2]):
        raise UserError(f"assignment: expected cost [B, Q, N] and valid [B, N]; got {tuple(cost)} and {tuple(valid)}")
    return True


def check_finite(cost: Tensor, valid: Tensor) -> None:
    """Refuse NaN and infinities among the costs that count; for code that is not being compiled."""
    wrong = ~(cost.isfinite().asnumpy()) & valid.asnumpy()[:, None, :]
    if wrong.any():
        problem, query, instance = (int(axis[0]) for axis in wrong.nonzero())
        number = float(cost.asnumpy()[problem, query, instance])
        raise UserError(
            f"assignment: cost[{problem}, {query}, {instance}] is {number}; {int(wrong.sum())} of the costs are not "
            "finite. The network's outputs have probably diverged: lower the learning rate or look at the inputs"
        )


def _output_shape(cost: list[int], valid: list[int]) -> list[int]:
    return valid


def _output_type(cost: Any, valid: Any) -> mstype.Type:
    return mstype.int32


def _bprop(cost: Tensor, valid: Tensor, output: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    return ops.zeros_like(cost), ops.zeros_like(valid)


@constexpr
def _assignment_op() -> ops.Custom:
    return native_op("Assignment", out_shape=_output_shape, out_dtype=_output_type, bprop=_bprop)


def matched_rows(row: Tensor, num_rows: int) -> Tensor:
    """An assignment int [B, N] (-1: none) -> [B, N, Q] with a 1 at each instance's row.

    A product with it picks those rows exactly, and zeros where there is none.
    """
    matched = ops.cast(row >= 0, mstype.float32).expand_dims(-1)
    return ops.cast(ops.one_hot(ops.maximum(row, ops.zeros_like(row)), num_rows), mstype.float32) * matched


def values_of(rows: Tensor, values: Tensor) -> Tensor:
    """``rows`` of :func:`matched_rows` [B, N, Q], values [B, Q, ...] -> the values of the matched rows [B, N, ...]."""
    B, N, Q = rows.shape
    return _products(ops.cast(rows, values.dtype), values.reshape(B, Q, -1)).reshape(B, N, *values.shape[2:])
