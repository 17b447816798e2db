"""The relaxed assignment between two graphs, as a quadratic program: its solution and its gradient, in float64 NumPy.

Every node of the smaller graph (a row, s of them) is given to nodes of the larger one (a column, g of them) by shares
Z [s, g]. With node affinities B in [0, 1] and complete graphs whose edges are pairs of nodes, the program is

    minimise 1/2 z'Qz - b'z,   z >= 0,   rows of Z sum to 1,   columns to 1 (s = g) or to at most 1 (s < g),

where z and b are Z and B row by row, Q = (k + margin) I - M, k = (s - 1)(g - 1), and M [(i,j),(i',j')] is
(B[i,j] + B[i',j']) / 2 where i != i' and j != j', else 0. The margin makes Q positive definite also for k = 0.
"""

from __future__ import annotations

import numpy as np

from mindvideo.errors import UserError

MARGIN = 0.01
MAX_ITERATIONS = 60
RESIDUAL = 1e-11  # of the optimality conditions, where the interior point stops
AT_BOUND = 1e-7  # shares up to this count as 0 in the gradient, columns this near to 1 as full
STEP = 0.99  # of the way to the nearest bound


def solve(affinity: np.ndarray) -> np.ndarray:
    """Affinities [s, g] with s <= g -> shares float64 [s, g]."""
    B = checked(affinity)
    s, g = B.shape
    Q, A, b = quadratic_matrix(B), equalities(s, g), B.reshape(-1)
    zeros = np.zeros((len(A), len(A)))
    system = np.block([[Q, A.T], [A, zeros]])
    z = np.linalg.solve(system, np.concatenate([b, np.ones(len(A))]))[: s * g]
    Z = z.reshape(s, g)
    if Z.min() >= 0.0 and (s == g or Z.sum(axis=0).max() <= 1.0):
        return Z  # no bound is met, which is usual: shares lie near 1 / g
    G, h = inequalities(s, g)
    return interior_point(Q, -b, A, np.ones(len(A)), G, h).reshape(s, g)


def gradient(affinity: np.ndarray, shares: np.ndarray, of_shares: np.ndarray) -> np.ndarray:
    """The gradient by the shares [s, g] at the solution -> that by the affinities float64 [s, g].

    Implicit differentiation of the optimality conditions, on the shares that are not 0 and the columns that are full.
    """
    B, Z = checked(affinity), np.asarray(shares, np.float64)
    s, g = B.shape
    A = equalities(s, g)
    if s < g:
        full = Z.sum(axis=0) >= 1.0 - AT_BOUND
        A = np.concatenate([A, column_sums(s, g)[full]])
    free = Z.reshape(-1) > AT_BOUND
    Q, A = quadratic_matrix(B)[np.ix_(free, free)], A[:, free]
    system = np.block([[Q, A.T], [A, np.zeros((len(A), len(A)))]])
    right = np.concatenate([-np.asarray(of_shares, np.float64).reshape(-1)[free], np.zeros(len(A))])
    change = np.zeros(s * g)
    if free.all() and len(A) == len(equalities(s, g)):
        change = np.linalg.solve(system, right)[: s * g]
    else:  # a full column with one free share repeats the condition of its row; least squares are exact there
        change[free] = np.linalg.lstsq(system, right, rcond=None)[0][: free.sum()]
    change = change.reshape(s, g)
    return -change - 0.5 * (change * elsewhere(Z) + Z * elsewhere(change))


def elsewhere(values: np.ndarray) -> np.ndarray:
    """For each place of [s, g] the sum over the places in other rows and other columns."""
    return values.sum() - values.sum(axis=1, keepdims=True) - values.sum(axis=0, keepdims=True) + values


def quadratic_matrix(B: np.ndarray) -> np.ndarray:
    """Q [s * g, s * g] of affinities [s, g], variables row by row."""
    s, g = B.shape
    apart = np.kron(1.0 - np.eye(s), 1.0 - np.eye(g))
    b = B.reshape(-1)
    return ((s - 1) * (g - 1) + MARGIN) * np.eye(s * g) - 0.5 * (b[:, None] + b[None]) * apart


def equalities(s: int, g: int) -> np.ndarray:
    """A with A z = 1: the rows, and of equal graphs the columns but one, which follows from the others."""
    rows = np.kron(np.eye(s), np.ones((1, g)))
    return rows if s < g else np.concatenate([rows, column_sums(s, g)[:-1]])


def inequalities(s: int, g: int) -> tuple[np.ndarray, np.ndarray]:
    """(G, h) with G z <= h: no share below 0, and no column above 1 where the graphs differ in size."""
    at_least_zero, zeros = -np.eye(s * g), np.zeros(s * g)
    if s == g:
        return at_least_zero, zeros
    return np.concatenate([at_least_zero, column_sums(s, g)]), np.concatenate([zeros, np.ones(g)])


def column_sums(s: int, g: int) -> np.ndarray:
    return np.kron(np.ones((1, s)), np.eye(g))


def interior_point(
    Q: np.ndarray, p: np.ndarray, A: np.ndarray, b: np.ndarray, G: np.ndarray, h: np.ndarray
) -> np.ndarray:
    """Minimise 1/2 z'Qz + p'z with A z = b and G z <= h, by the predictor-corrector method."""
    n, m = len(p), len(h)
    z, nu = np.full(n, 1.0 / n), np.zeros(len(b))
    slack, force = np.maximum(h - G @ z, 1.0), np.ones(m)
    for _ in range(MAX_ITERATIONS):
        dual = Q @ z + p + A.T @ nu + G.T @ force
        equal, unequal = A @ z - b, G @ z + slack - h
        gap = slack @ force / m
        if max(np.abs(dual).max(), np.abs(equal).max(), np.abs(unequal).max(), gap) < RESIDUAL:
            break
        system = np.block([[Q + G.T @ ((force / slack)[:, None] * G), A.T], [A, np.zeros((len(b), len(b)))]])
        residuals = (dual, equal, unequal)
        _, _, of_slack, of_force = direction(system, residuals, G, slack, force, slack * force)
        reach = min(longest(slack, of_slack), longest(force, of_force))
        ahead = (slack + reach * of_slack) @ (force + reach * of_force) / m
        centred = slack * force + of_slack * of_force - gap * (ahead / gap) ** 3
        of_z, of_nu, of_slack, of_force = direction(system, residuals, G, slack, force, centred)
        reach = min(1.0, STEP * min(longest(slack, of_slack), longest(force, of_force)))
        z, nu = z + reach * of_z, nu + reach * of_nu
        slack, force = slack + reach * of_slack, force + reach * of_force
    return np.maximum(z, 0.0)


def direction(
    system: np.ndarray,
    residuals: tuple[np.ndarray, np.ndarray, np.ndarray],
    G: np.ndarray,
    slack: np.ndarray,
    force: np.ndarray,
    complementary: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The Newton step of z, nu, slack and force that makes ``complementary`` 0, from the reduced system."""
    dual, equal, unequal = residuals
    inner = (force * unequal - complementary) / slack
    solved = np.linalg.lstsq(system, np.concatenate([-dual - G.T @ inner, -equal]), rcond=None)[0]
    of_z, of_nu = solved[: len(dual)], solved[len(dual) :]
    of_slack = -unequal - G @ of_z
    return of_z, of_nu, of_slack, -(complementary + force * of_slack) / slack


def longest(values: np.ndarray, change: np.ndarray) -> float:
    """The largest step up to 1 / STEP along ``change`` that leaves positive ``values`` positive."""
    falling = change < 0
    return min([1.0 / STEP, *(-values[falling] / change[falling])])


def checked(affinity: np.ndarray) -> np.ndarray:
    """float64 [s, g]; UserError for what is no affinity between graphs of at most that many nodes."""
    B = np.asarray(affinity, np.float64)
    if B.ndim != 2 or not 1 <= B.shape[0] <= B.shape[1]:
        raise UserError(f"graph matching: affinities must be [s, g] with 1 <= s <= g, got {list(B.shape)}")
    if not np.isfinite(B).all():
        raise UserError(
            "graph matching: an affinity is NaN or infinite, so the features of some instance are: the weights are "
            "damaged, or from a training that diverged; take an earlier checkpoint"
        )
    return B
