"""Graph matching against its reference numbers: the quadratic program, the matcher, the matching loss, the pyramid."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindvideo.errors import UserError
from mindvideo.modules.heads.pyramid_classifier import grid_maxima
from mindvideo.modules.losses.graph_matching import balanced_cross_entropy
from mindvideo.modules.matching import quadratic_program
from mindvideo.modules.matching.graph_matching import FINAL_SHARPNESS, GraphMatcher, match_on_host, program_shares
from tests.golden.fill import fill, make_input

CASES = ("p10x10", "p7x10", "p10x6", "p1x5", "p3x1")
# Each shape compiles a graph; these add little to the others.
SLOW_SHAPES = {case: pytest.mark.slow for case in ("p10x10", "p10x6", "p3x1")}
EXACT = 1e-9  # float64
FLOAT32 = 5e-5  # of the largest value of an array
# Of probabilities and of affinities in float32, and of the loss where it is near 0 at full sharpness.
ABSOLUTE = 2e-6


@pytest.fixture(scope="module")
def reference(request: pytest.FixtureRequest):
    folder = Path(request.config.getoption("--golden")) / "gmpvis"
    return np.load(folder / "gm_proposal.npz"), json.loads((folder / "gm_proposal.json").read_text())


@pytest.fixture(scope="module")
def units(request: pytest.FixtureRequest):
    return np.load(Path(request.config.getoption("--golden")) / "gmpvis" / "gm_units.npz")


def weights() -> tuple[np.ndarray, np.ndarray]:
    weight = np.eye(64) + 0.3 * fill("gmm.cross_graph.weight", (64, 64))
    return weight.astype(np.float32), fill("gmm.cross_graph.bias", (64,))


def small_side_first(affinity: np.ndarray) -> np.ndarray:
    return affinity if affinity.shape[0] <= affinity.shape[1] else affinity.T


@pytest.mark.parametrize("case", CASES)
def test_the_quadratic_program_and_its_gradient(case: str, reference) -> None:
    numbers, facts = reference
    affinity = small_side_first(numbers[f"{case}.Mp"])
    shares = quadratic_program.solve(affinity)
    assert np.abs(shares - numbers[f"{case}.Z"]).max() < EXACT
    seed = make_input(f"gmpvis/proposal/{case}/seed", shares.shape, 0).astype(np.float64)
    found = quadratic_program.gradient(affinity, shares, seed)
    # With one row the shares are 1 and 0 whatever the affinities are; the file's gradient is its solver's remainder.
    remainder = max(abs(a - b) for a, b in facts["cases"][case]["fd_vs_kkt"]) if min(affinity.shape) == 1 else 0.0
    assert np.abs(found - numbers[f"{case}.grad_B_of_seeded_Z"]).max() < EXACT + remainder


@pytest.mark.parametrize("case", CASES)
def test_the_interior_point_agrees_where_no_bound_is_met(case: str, reference) -> None:
    affinity = small_side_first(reference[0][f"{case}.Mp"])
    s, g = affinity.shape
    A, (G, h) = quadratic_program.equalities(s, g), quadratic_program.inequalities(s, g)
    Q = quadratic_program.quadratic_matrix(affinity)
    found = quadratic_program.interior_point(Q, -affinity.reshape(-1), A, np.ones(len(A)), G, h)
    assert np.abs(found.reshape(s, g) - reference[0][f"{case}.Z"]).max() < EXACT


@pytest.mark.parametrize("case", CASES)
def test_the_matcher_on_the_host(case: str, reference) -> None:
    numbers = reference[0]
    weight, bias = weights()
    given = numbers[f"{case}.U1"], numbers[f"{case}.U2"]
    affinity, exact = match_on_host(*given, weight=weight, bias=bias, solver="exact")
    assert np.abs(affinity - numbers[f"{case}.Mp"]).max() < 1e-7  # the file's weights are not rounded to float32
    assert np.abs(small_side_first(exact) - numbers[f"{case}.voted_a1000"]).max() < 1e-5
    _, shares = match_on_host(*given, weight=weight, bias=bias, solver="sinkhorn")
    assert np.abs(small_side_first(shares) - numbers[f"{case}.sinkhorn"]).max() < 1e-6
    if len(numbers[f"{case}.assign_rows"]) > 1:
        rows = numbers[f"{case}.assign_rows"]
        assert (small_side_first(shares)[rows].argmax(1) == numbers[f"{case}.assign_cols"]).all()


class Loss(nn.Cell):
    def __init__(self, matcher: nn.Cell, mean_logarithm: bool) -> None:
        super().__init__()
        self.matcher, self.mean_logarithm = matcher, mean_logarithm

    def construct(self, history, current, truth, sharpness):
        affinity, scores = self.matcher(history, current, sharpness)
        if not self.mean_logarithm:
            return balanced_cross_entropy(scores, truth).sum(), affinity, scores
        taught = (truth >= 0).astype(ms.float32)
        column = ms.ops.maximum(truth, ms.ops.zeros_like(truth))
        chosen = ms.ops.gather_elements(scores, 2, column.expand_dims(-1))[..., 0]
        return -(chosen * taught).sum() / taught.sum(), affinity, scores


@functools.cache
def differentiated(solver: str):
    ms.set_context(mode=ms.GRAPH_MODE)
    matcher = GraphMatcher(width=64, solver=solver)
    for parameter, value in zip((matcher.cross_graph.weight, matcher.cross_graph.bias), weights()):
        parameter.set_data(ms.Tensor(value))
    loss = Loss(matcher, mean_logarithm=solver == "sinkhorn")
    return ms.value_and_grad(loss, (0, 1), ms.ParameterTuple(matcher.get_parameters()), has_aux=True)


def run(solver: str, numbers, case: str, sharpness: float):
    given = [ms.Tensor(numbers[f"{case}.U{side}"][None].astype(np.float32)) for side in (1, 2)]
    truth = ms.Tensor(numbers[f"{case}.gt"][None].astype(np.int32))
    return differentiated(solver)(*given, truth, ms.Tensor(sharpness, ms.float32))


def assert_near(got: np.ndarray, wanted: np.ndarray) -> None:
    assert np.abs(got - wanted).max() <= FLOAT32 * np.abs(wanted).max() + 1e-9


@pytest.mark.parametrize(
    ("solver", "case"),
    [("program", "p10x10"), *(pytest.param("exact", case, marks=SLOW_SHAPES.get(case, ())) for case in CASES)],
)
def test_the_program_in_the_graph(solver: str, case: str, reference) -> None:
    numbers, facts = reference
    for sharpness in (50, 1000):
        wanted = facts["cases"][case]["losses"][f"{sharpness}.0"]
        (loss, affinity, _), (of_nodes, of_weights) = run(solver, numbers, case, sharpness)
        assert float(loss) == pytest.approx(wanted["loss"], rel=FLOAT32, abs=1e-11)
        assert np.abs(affinity.asnumpy()[0] - numbers[f"{case}.Mp"]).max() < ABSOLUTE
        rounding = 1e-3 if sharpness == 1000 else FLOAT32  # of a factor of a thousand on float32 shares
        for gradient, side in zip(of_nodes, (1, 2)):
            stored = numbers[f"{case}.grad_U{side}_a{sharpness}"]
            assert np.abs(gradient.asnumpy()[0] - stored).max() <= rounding * np.abs(stored).max() + 1e-12
        for gradient, norm in zip(of_weights, wanted["grad_norm"][2:], strict=True):
            assert np.linalg.norm(gradient.asnumpy()) == pytest.approx(norm, rel=rounding, abs=1e-12)


@pytest.mark.parametrize("case", [pytest.param(case, marks=SLOW_SHAPES.get(case, ())) for case in CASES])
def test_the_sinkhorn_matcher_in_the_graph(case: str, reference) -> None:
    numbers = reference[0]
    (loss, _, scores), (of_nodes, _) = run("sinkhorn", numbers, case, FINAL_SHARPNESS)
    assert np.abs(np.exp(scores.asnumpy()[0]) - numbers[f"{case}.sinkhorn"]).max() < ABSOLUTE
    assert float(loss) == pytest.approx(float(numbers[f"{case}.sinkhorn_nll"]), rel=FLOAT32, abs=1e-6)
    for gradient, side in zip(of_nodes, (1, 2)):
        assert_near(gradient.asnumpy()[0], numbers[f"{case}.sinkhorn_grad_U{side}"])


def test_permuted_nodes_permute_the_assignment(reference) -> None:
    numbers, (weight, bias) = reference[0], weights()
    history, current = numbers["p7x10.U1"], numbers["p7x10.U2"]
    order = np.random.default_rng(0).permutation(len(current))
    for solver in ("exact", "sinkhorn"):
        _, plain = match_on_host(history, current, weight=weight, bias=bias, solver=solver)
        _, permuted = match_on_host(history, current[order], weight=weight, bias=bias, solver=solver)
        np.testing.assert_allclose(permuted, plain[:, order], atol=1e-8)


@pytest.mark.parametrize("shape", [(3, 5), (4, 4), (2, 2), (9, 10), (10, 20)])
def test_gradients_of_the_quadratic_program_by_differences(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape)
    affinity, direction, seed = rng.random(shape) ** 4, rng.standard_normal(shape), rng.standard_normal(shape)
    found = (quadratic_program.gradient(affinity, quadratic_program.solve(affinity), seed) * direction).sum()
    ends = [(quadratic_program.solve(affinity + sign * 1e-5 * direction) * seed).sum() for sign in (1, -1)]
    assert found == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("size", [3, 4, 5])
def test_the_quadratic_matrix_is_that_of_the_edges(size: int) -> None:
    """By incidence matrices and Kronecker products, as the paper writes it; here variables go column by column."""
    affinity = np.random.default_rng(size).random((size, size))
    start, end = np.array([(i, j) for i in range(size) for j in range(size) if i != j]).T
    of_start, of_end = np.eye(size)[:, start], np.eye(size)[:, end]
    edges = 0.5 * (affinity[np.ix_(start, start)] + affinity[np.ix_(end, end)])
    between = np.kron(of_start, of_start) @ np.diag(edges.T.reshape(-1)) @ np.kron(of_end, of_end).T
    expected = ((size - 1) ** 2 + quadratic_program.MARGIN) * np.eye(size**2) - between
    order = np.arange(size**2).reshape(size, size).T.reshape(-1)
    found = quadratic_program.quadratic_matrix(affinity)[np.ix_(order, order)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_at_a_permutation_edges_say_what_nodes_say() -> None:
    """The quadratic term is (n - 1) times the linear one, so both have the same best permutation."""
    affinity = np.random.default_rng(1).random((5, 5))
    k = 16 + quadratic_program.MARGIN
    M = k * np.eye(25) - quadratic_program.quadratic_matrix(affinity)
    for seed in range(4):
        z = np.eye(5)[np.random.default_rng(seed).permutation(5)].reshape(-1)
        assert z @ M @ z == pytest.approx(4 * (affinity.reshape(-1) @ z), rel=1e-12)


@pytest.mark.parametrize("case", ["6x6", "6x4"])
def test_the_published_program_without_the_margin(case: str, units, monkeypatch) -> None:
    monkeypatch.setattr(quadratic_program, "MARGIN", 0.0)
    affinity = units[f"match_{case}.Mp"]
    shares = quadratic_program.solve(small_side_first(affinity))
    assert np.abs(small_side_first(units[f"match_{case}.z"]) - shares).max() < 1e-9


@pytest.mark.parametrize("size", ["24x32", "75x135", "56x96", "24x24"])
def test_the_pyramid(size: str, units) -> None:
    h, w = map(int, size.split("x"))
    found = grid_maxima(ms.Tensor(make_input(f"gmpvis/spp/{size}", (1, 3, h, w))))
    np.testing.assert_array_equal(found.asnumpy(), units[f"spp_{size}"].astype(np.float32))


def test_the_pyramid_of_a_map_with_fewer_rows_than_the_grid() -> None:
    found = grid_maxima(ms.Tensor(np.full((1, 5, 8), -2.0, np.float32))).asnumpy().reshape(8, 8)
    assert (found[2:7] == -2).all() and (found[:2] == 0).all() and (found[7:] == 0).all()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 10])
def test_the_program_of_graphs_of_one_size(size: int) -> None:
    affinity = np.random.default_rng(size).random((size, size)) ** 3
    found = program_shares(ms.Tensor(affinity[None].astype(np.float32))).asnumpy()[0]
    np.testing.assert_allclose(found, quadratic_program.solve(affinity), atol=2e-6)


def test_features_of_nan_and_graphs_of_wrong_shapes_are_refused() -> None:
    weight, bias = weights()
    nodes = np.random.default_rng(0).standard_normal((3, 64))
    broken = nodes.copy()
    broken[1, 5] = np.nan
    with pytest.raises(UserError, match="NaN or infinite"):
        match_on_host(nodes, broken, weight=weight, bias=bias)
    with pytest.raises(UserError, match="1 <= s <= g"):
        quadratic_program.solve(np.ones((4, 3)))
    with pytest.raises(UserError, match="choose one of program, sinkhorn, exact"):
        GraphMatcher(width=4, solver="best")
