"""The matching loss: the assignment between two clips against which instance is which, balanced over the classes."""

from __future__ import annotations

from typing import TypedDict

import mindspore as ms
from mindspore import ops

from mindvideo.modules.losses.matched import Matched

MAX_LOSS = 100.0  # of one place
LARGE = 50.0  # from here on softplus is the identity
SMALL = 8.0  # below minus this it is a series: log1p of float32 loses what is small beside 1
FAR = -1e9  # added to a score that a sum of exponentials leaves out


class MatchedGraphs(TypedDict):
    """An assignment and the truth about it, of P pairs of clips; ``extra`` of this term."""

    log_assignment: ms.Tensor  # [P, rows, columns], exponentials sum to 1 in each row
    truth: ms.Tensor  # int [P, rows], the right column; -1 for a row that is not taught


def graph_matching(m: Matched) -> ms.Tensor:
    """The mean over the pairs of clips; 0 for a pair without an instance that both clips show."""
    graphs = m["extra"]["graphs"]
    return balanced_cross_entropy(graphs["log_assignment"], graphs["truth"]).mean().reshape(1)


def balanced_cross_entropy(log_assignment: ms.Tensor, truth: ms.Tensor) -> ms.Tensor:
    """[P, s, g] and int [P, s] -> [P]: binary cross-entropy in which ones and zeros count for one half each.

    A probability p is given by its odds, log((1 - p) / p), so that one of nearly 1 keeps its digits and its gradient.
    """
    columns = log_assignment.shape[2]
    if columns == 1:  # the only column is right
        return 0.0 * ops.sum(log_assignment, (1, 2))
    taught = ops.cast(truth >= 0, ms.float32)  # [P, s]
    right = ops.cast(ops.one_hot(ops.maximum(truth, ops.zeros_like(truth)), columns), ms.float32) * taught.expand_dims(
        -1
    )
    wrong = taught.expand_dims(-1) - right
    rows = ops.maximum(ops.sum(taught, -1), ms.Tensor(1.0, ms.float32))
    odds = log_of_others(log_assignment) - log_assignment
    ones, zeros = ops.sum(softplus(odds) * right, (1, 2)), ops.sum(softplus(-odds) * wrong, (1, 2))
    return (ones + zeros / (columns - 1)) / (2.0 * rows)


def softplus(x: ms.Tensor) -> ms.Tensor:
    """log(1 + exp(x)), with all its digits and its gradient everywhere; at most MAX_LOSS."""
    large, small = x > LARGE, x < -SMALL
    powers = ops.exp(ops.select(large, ops.zeros_like(x), x))
    exact = ops.select(small, powers - 0.5 * powers * powers, ops.log1p(powers))
    return ops.minimum(ops.select(large, x, exact), ms.Tensor(MAX_LOSS, ms.float32))


def log_of_others(log_assignment: ms.Tensor) -> ms.Tensor:
    """log(1 - p) of each place [..., g] of a row that sums to 1: the logarithm of the sum of the others."""
    columns = log_assignment.shape[-1]
    left_out = ops.eye(columns, columns, ms.float32) * FAR
    return ops.logsumexp(log_assignment.expand_dims(-2) + left_out, -1)
