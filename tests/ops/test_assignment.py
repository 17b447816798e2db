"""The assignment inside the graph has scipy's total cost, whatever the problem looks like."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, ops
from scipy.optimize import linear_sum_assignment

from mindvideo.errors import UserError
from mindvideo.ops import assignment
from mindvideo.ops.assignment import matched_rows, values_of
from mindvideo.ops.assignment_ref import assignment_ref

IMPLEMENTATIONS = {"public": assignment, "reference": assignment_ref}


@pytest.fixture(scope="module", params=sorted(IMPLEMENTATIONS))
def solve(request):
    return ms.jit(IMPLEMENTATIONS[request.param])


def test_values_of_matched_rows():
    """Exactly the rows' values in the instances' order, and zeros for an instance without a row."""
    values = np.random.default_rng(0).standard_normal((2, 4, 3, 5)).astype(np.float32)
    row = np.array([[2, -1, 0], [3, 1, -1]])
    picked = values_of(matched_rows(Tensor(row, ms.int32), 4), Tensor(values)).asnumpy()
    for b, n in np.ndindex(2, 3):
        np.testing.assert_array_equal(picked[b, n], values[b, row[b, n]] if row[b, n] >= 0 else 0)


def make_costs(rng, B: int, Q: int, N: int) -> np.ndarray:
    """A third with ties, a third with large numbers, a third plain."""
    cost = rng.standard_normal((B, Q, N)).astype(np.float32)
    cost[: B // 3] = np.round(cost[: B // 3])
    cost[B // 3 : 2 * B // 3] *= 1e4
    return cost


def assert_optimal(cost: np.ndarray, valid: np.ndarray, result: np.ndarray) -> None:
    assert result.dtype == np.int32 and result.shape == valid.shape
    for one_cost, one_valid, query in zip(cost.astype(np.float64), valid, result):
        columns, matched = np.flatnonzero(one_valid), np.flatnonzero(query >= 0)
        rows, picked = linear_sum_assignment(one_cost[:, columns])
        assert one_valid[matched].all() and len(set(query[matched])) == len(matched) == len(rows)
        best = one_cost[:, columns][rows, picked].sum()
        assert abs(one_cost[query[matched], matched].sum() - best) <= 1e-9 * max(1.0, np.abs(one_cost).max())


def assert_random_problems_solved(solve, problems: int, Q: int, N: int) -> None:
    rng = np.random.default_rng(Q * 100 + N)
    cost, valid = make_costs(rng, problems, Q, N), rng.random((problems, N)) < 0.8
    valid[:5] = False
    assert_optimal(cost, valid, solve(Tensor(cost), Tensor(valid)).asnumpy())


@pytest.mark.parametrize("Q, N", [(10, 6), (6, 10), (1, 1), (30, 12), (8, 8)])
def test_ten_thousand_problems(Q, N):
    assert_random_problems_solved(ms.jit(assignment), 2000, Q, N)


@pytest.mark.parametrize("Q, N", [(10, 6), (6, 10)])
def test_the_twin_solves_them_too(Q, N):
    assert_random_problems_solved(ms.jit(assignment_ref), 1000, Q, N)


def test_no_instances_and_no_queries():
    empty = assignment(Tensor(np.zeros((2, 5, 0), np.float32)), Tensor(np.zeros((2, 0), bool)))
    assert empty.shape == (2, 0)
    nobody = assignment(Tensor(np.zeros((2, 0, 3), np.float32)), Tensor(np.ones((2, 3), bool)))
    assert (nobody.asnumpy() == -1).all()


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_step_by_step_refuses_costs_that_are_not_finite(number):
    cost, valid = np.zeros((2, 3, 2), np.float32), np.ones((2, 2), bool)
    cost[1, 2, 1] = number
    with pytest.raises(UserError, match=r"cost\[1, 2, 1\] is"):
        assignment(Tensor(cost), Tensor(valid))
    valid[1, 1] = False  # padding may hold anything
    assert (assignment(Tensor(cost), Tensor(valid)).asnumpy()[1] == [0, -1]).all()


def test_graph_takes_pairs_that_are_not_finite_last(solve):
    rng = np.random.default_rng(7)
    cost, valid = make_costs(rng, 60, 6, 4), np.ones((60, 4), bool)
    wrong = rng.random(cost.shape) < 0.3
    cost[wrong] = rng.choice([np.nan, np.inf, -np.inf], wrong.sum())
    result = solve(Tensor(cost), Tensor(valid)).asnumpy()
    penalty = 1e9
    replaced = np.where(wrong, penalty, cost.astype(np.float64))
    for one, query in zip(replaced, result):
        rows, picked = linear_sum_assignment(one)
        assert abs(one[query, np.arange(4)].sum() - one[rows, picked].sum()) < 1e-3
    hopeless = np.full((2, 3, 5), np.nan, np.float32)
    result = solve(Tensor(hopeless), Tensor(np.ones((2, 5), bool))).asnumpy()
    assert ((result >= 0).sum(axis=1) == 3).all()


def test_no_gradient_flows_through_the_choice(solve):
    cost, valid = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32), np.ones((2, 3), bool)

    def loss(cost, valid):
        query = solve(cost, valid)
        return (ops.gather_elements(cost, 1, ops.expand_dims(query, 1)) ** 2).sum()

    gradient = ms.jit(ms.grad(loss))(Tensor(cost), Tensor(valid)).asnumpy()
    query = solve(Tensor(cost), Tensor(valid)).asnumpy()
    expected = np.zeros_like(cost)
    for b in range(2):
        expected[b, query[b], np.arange(3)] = 2 * cost[b, query[b], np.arange(3)]
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_wrong_shapes_are_named():
    with pytest.raises(UserError, match=r"expected cost \[B, Q, N\] and valid \[B, N\]; got \(2, 5, 3\) and \(2, 5\)"):
        assignment(Tensor(np.zeros((2, 5, 3), np.float32)), Tensor(np.ones((2, 5), bool)))
