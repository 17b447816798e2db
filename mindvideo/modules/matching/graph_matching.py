"""Which instance of one clip is which of another: two graphs whose nodes are the instances, matched softly.

Nodes are feature vectors. Each node is first joined with what the other graph holds of its like (across the graphs),
then the affinities of nodes and of edges decide the assignment. Edges are pairs of nodes and no self loops, so that the
affinity of two edges is the mean of that of their nodes; see quadratic_program.py. Rows are the nodes of the smaller
graph, columns those of the larger one: history and current clip, or the other way round where the history is larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.ops import constexpr

from mindvideo.errors import UserError
from mindvideo.modules.layers.linear import Linear
from mindvideo.modules.matching import quadratic_program
from mindvideo.ops.slices import swapped

_products = ops.BatchMatMul()

SOLVERS = ("program", "sinkhorn", "exact")
MIN_LENGTH = 1e-12  # of a feature vector, where it is divided by its length
FINAL_SHARPNESS = 1000.0  # the published factor on the shares of the quadratic program
TEMPERATURE = 0.05  # of the Sinkhorn iteration at that sharpness
ITERATIONS = 50
PASSES, PASSES_OF_FEW = 4, 20  # over the rows and columns of a program; of at most FEW nodes, whose weights differ more
FEW = 3


class GraphMatcher(nn.Cell):
    """history [B, N1, C], current [B, N2, C] -> affinities [B, N1, N2] in 0..1, and log assignment [B, rows, columns].

    ``solver``: "program" solves the quadratic program inside the graph, on any device, for graphs of the same size
    (see :func:`program_shares`); "sinkhorn" iterates inside the graph, for any sizes; "exact" solves the program on the
    host, for any sizes, and only on a CPU. ``sharpness`` [] turns shares into a decision: FINAL_SHARPNESS at the end of
    training and in inference, less while the matching is being learned; Sinkhorn's temperature is TEMPERATURE at that
    value and inversely proportional to it. ``iterations`` are Sinkhorn's.
    """

    def __init__(self, *, width: int, solver: str = "program", iterations: int = ITERATIONS) -> None:
        super().__init__()
        if solver not in SOLVERS:
            raise UserError(f"GraphMatcher: solver is '{solver}'; choose one of {', '.join(SOLVERS)}")
        self.cross_graph = Linear(width, width, weight_init=ms.Tensor(np.eye(width, dtype=np.float32)))
        self.cross_graph.bias.set_data(ms.Tensor(np.zeros(width, np.float32)))
        self.solver, self.iterations = solver, iterations
        self.exact = ExactShares() if solver == "exact" else None

    def construct(self, history: ms.Tensor, current: ms.Tensor, sharpness: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        affinity = self.affinity(history, current)
        return affinity, self.log_assignment(affinity, sharpness)

    def affinity(self, history: ms.Tensor, current: ms.Tensor) -> ms.Tensor:
        """[B, N1, N2]: the cosine of two nodes, each after it was joined with what the other graph holds of it."""
        history, current = unit(history), unit(current)
        likeness = _products(history, swapped(current, 1, 2))
        from_current = _products(likeness, current)
        from_history = _products(swapped(likeness, 1, 2), history)
        history, current = self.joined(history, from_current), self.joined(current, from_history)
        return _products(history, swapped(current, 1, 2))

    def joined(self, nodes: ms.Tensor, found: ms.Tensor) -> ms.Tensor:
        """Nodes [B, N, C] with their like in the other graph, brought to the same length, in unit vectors >= 0."""
        balance = ops.stop_gradient(length(nodes) / ops.maximum(length(found), ms.Tensor(MIN_LENGTH, ms.float32)))
        return unit(ops.relu(self.cross_graph(nodes + balance * found)))

    def log_assignment(self, affinity: ms.Tensor, sharpness: ms.Tensor) -> ms.Tensor:
        """[B, N1, N2] -> logarithms [B, rows, columns], whose exponentials sum to 1 in each row."""
        if affinity.shape[1] > affinity.shape[2]:
            affinity = swapped(affinity, 1, 2)
        if self.exact is not None:
            scores = self.exact(affinity) * sharpness
        elif self.solver == "program":
            scores = program_shares(affinity) * sharpness
        else:
            scores = log_sinkhorn(affinity * (sharpness / (TEMPERATURE * FINAL_SHARPNESS)), self.iterations)
        # The largest score of a row becomes 0 first: float32 is ten thousand times finer there than at a hundred.
        scores = scores - ops.stop_gradient(ops.amax(scores, -1, keepdims=True))
        return scores - ops.logsumexp(scores, -1, True)


def unit(vectors: ms.Tensor) -> ms.Tensor:
    return vectors / length(vectors)


def length(vectors: ms.Tensor) -> ms.Tensor:
    """[..., C] -> [..., 1]; at least MIN_LENGTH, without a gradient there."""
    squares = ops.sum(vectors * vectors, -1, keepdim=True)
    return ops.sqrt(ops.maximum(squares, ms.Tensor(MIN_LENGTH**2, ms.float32)))


def program_shares(affinity: ms.Tensor) -> ms.Tensor:
    """Affinities [B, n, n] -> the shares of the quadratic program [B, n, n], without its bound at 0.

    The sums over other rows and columns that the quadratic term holds are constants of a row, of a column and of all,
    and join the multipliers of the conditions that rows and columns sum to 1. So a share is

        (n / 2 * affinity + row + column) / (k + margin - affinity),   k = (n - 1)^2,

    and the numbers ``row`` and ``column`` follow from the sums. They are found in turn; the weights 1 / (k + margin -
    affinity) are nearly equal, so that three passes are exact to float64 from four nodes on. A share below 0, which the
    program would hold at 0, takes a matrix of affinities of 0 and 1 in which a row and a column are full.
    """
    n = same_size(affinity.shape)
    if n == 1:
        return ops.ones_like(affinity) + 0.0 * affinity
    weight = 1.0 / ((n - 1) ** 2 + quadratic_program.MARGIN - affinity)
    own = 0.5 * n * affinity * weight
    rows_left, columns_left = 1.0 - ops.sum(own, 2, keepdim=True), 1.0 - ops.sum(own, 1, keepdim=True)
    of_rows, of_columns = ops.sum(weight, 2, keepdim=True), ops.sum(weight, 1, keepdim=True)
    row, column = rows_left / of_rows, ops.zeros_like(columns_left)
    for _ in range(PASSES_OF_FEW if n <= FEW else PASSES):
        column = (columns_left - ops.sum(weight * row, 1, keepdim=True)) / of_columns
        row = (rows_left - ops.sum(weight * column, 2, keepdim=True)) / of_rows
    return own + (row + column) * weight


@constexpr
def same_size(shape: tuple[int, int, int]) -> int:
    if shape[1] != shape[2]:
        raise UserError(
            f"GraphMatcher: graphs of {shape[1]} and {shape[2]} nodes; solver 'program' is for graphs of the same "
            "size, take 'sinkhorn' or 'exact'"
        )
    return shape[1]


def log_sinkhorn(scores: ms.Tensor, iterations: int) -> ms.Tensor:
    """Scores [B, s, g], s <= g -> logarithms of the doubly stochastic matrix that they lead to, its first s rows.

    g - s rows of zeros are appended first, so that each column can be given away. Columns and rows are scaled in turn,
    by factors that multiply the exponentials: a quarter of the operations that sums of logarithms would take.
    """
    B, s, g = scores.shape
    if s < g:
        scores = ops.cat((scores, ops.zeros((B, g - s, g), scores.dtype)), 1)
    kernel = ops.exp(scores)
    across = swapped(kernel, 1, 2)
    of_rows, of_columns = ops.ones((B, g, 1), scores.dtype), ops.ones((B, g, 1), scores.dtype)
    for _ in range(iterations):
        of_columns = 1.0 / _products(across, of_rows)
        of_rows = 1.0 / _products(kernel, of_columns)
    return (scores + ops.log(of_rows) + swapped(ops.log(of_columns), 1, 2))[:, :s]


class ExactShares(nn.Cell):
    """Affinities [B, s, g] -> the shares of the quadratic program [B, s, g], solved in float64 on the host."""

    def __init__(self) -> None:
        super().__init__()
        same = {"out_shape": _first, "out_dtype": _first, "func_type": "pyfunc"}
        self.solve, self.differentiate = ops.Custom(_shares, **same), ops.Custom(_gradients, **same)

    def construct(self, affinity: ms.Tensor) -> ms.Tensor:
        return self.solve(affinity)

    def bprop(self, affinity: ms.Tensor, shares: ms.Tensor, of_shares: ms.Tensor) -> Sequence[ms.Tensor]:
        return (self.differentiate(affinity, shares, of_shares),)


def _first(first: Any, *others: Any) -> Any:
    return first


def _shares(affinity: np.ndarray) -> np.ndarray:
    return np.stack([quadratic_program.solve(pair) for pair in affinity]).astype(affinity.dtype)


def _gradients(affinity: np.ndarray, shares: np.ndarray, of_shares: np.ndarray) -> np.ndarray:
    found = [quadratic_program.gradient(*pair) for pair in zip(affinity, shares, of_shares)]
    return np.stack(found).astype(affinity.dtype)


def match_on_host(
    history: np.ndarray,
    current: np.ndarray,
    *,
    weight: np.ndarray,
    bias: np.ndarray,
    solver: str = "program",
    iterations: int = ITERATIONS,
) -> tuple[np.ndarray, np.ndarray]:
    """The matcher with the given weights, in float64 NumPy: [N1, C], [N2, C] -> affinity and assignment [N1, N2].

    For inference, where the sets have another size each time and a graph would be compiled for each.
    """
    affinity = affinity_on_host(history, current, weight, bias)
    turned = len(history) > len(current)
    between = quadratic_program.checked(affinity.T if turned else affinity)
    if solver == "sinkhorn":
        scores = log_sinkhorn_on_host(between / TEMPERATURE, iterations)
    else:
        scores = quadratic_program.solve(between) * FINAL_SHARPNESS
    assignment = np.exp(scores - scores.max(axis=1, keepdims=True))
    assignment /= assignment.sum(axis=1, keepdims=True)
    return affinity, assignment.T if turned else assignment


def affinity_on_host(history: np.ndarray, current: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """As :meth:`GraphMatcher.affinity`, [N1, C] and [N2, C] -> float64 [N1, N2]."""

    def unit_rows(rows: np.ndarray) -> np.ndarray:
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), MIN_LENGTH)

    def joined(nodes: np.ndarray, found: np.ndarray) -> np.ndarray:
        lengths = [np.linalg.norm(rows, axis=1, keepdims=True) for rows in (nodes, found)]
        together = nodes + lengths[0] / np.maximum(lengths[1], MIN_LENGTH) * found
        return unit_rows(np.maximum(together @ np.asarray(weight, np.float64).T + bias, 0.0))

    history, current = (unit_rows(np.asarray(rows, np.float64)) for rows in (history, current))
    likeness = history @ current.T
    return joined(history, likeness @ current) @ joined(current, likeness.T @ history).T


def log_sinkhorn_on_host(scores: np.ndarray, iterations: int) -> np.ndarray:
    """As :func:`log_sinkhorn`, for [s, g]."""
    s, g = scores.shape
    full = np.concatenate([scores, np.zeros((g - s, g))])
    for _ in range(iterations):
        for axis in (0, 1):
            highest = full.max(axis=axis, keepdims=True)
            full = full - highest - np.log(np.exp(full - highest).sum(axis=axis, keepdims=True))
    return full[:s]
