"""Whether a difference is rounding.

**Of a gradient**: an activation within rounding of zero falls on either side of its ReLU. Then single gradients of the
backbone jump, by up to a few thousandths, when the frames change by one part in five million, and stay where they are
otherwise. So what does not agree at once must agree for one of a few such frames.

**Of a result**: a network carries rounding to its outputs, more or less of it with every set of weights, and an online
one carries it from frame to frame. Where a result differs by more than its tolerance, it may differ by a few times what
it changes by, in this very case, when every weight changes by a rounding.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping

import mindspore as ms
import numpy as np
from mindspore import nn

NOISE = 2e-7  # of a pixel, relative: about half the spacing of float32
DRAWS = 24


def left_after_rounding(off: set[str], frames: np.ndarray, disagreeing: Callable[[np.ndarray], set[str]]) -> set[str]:
    """The names of ``off`` that disagree for every drawn change of the frames as well."""
    rng = np.random.default_rng(0)
    for _ in range(DRAWS):
        if not off:
            break
        off = off & disagreeing((frames * (1 + NOISE * rng.standard_normal(frames.shape))).astype(np.float32))
    return off


WEIGHT_NOISE = 1.2e-7  # of a weight, relative: the spacing of float32
WEIGHT_DRAWS = 8
TIMES_OWN_ROUNDING = 8.0  # ours differs from the original by up to seven times that: other orders, other kernels
MOST_OF_A_TOLERANCE = 10.0  # a case that rounds to more is no test of anything


@dataclasses.dataclass(frozen=True)
class Row:
    """Numbers of ours beside the original's; their largest difference is ``tolerance`` parts of ``scale`` at most."""

    ours: np.ndarray
    theirs: np.ndarray
    tolerance: float
    scale: float = 1.0

    def off_by(self, other: np.ndarray) -> float:
        assert self.ours.shape == other.shape, f"{self.ours.shape} against {other.shape}"
        difference = np.abs(self.ours.astype(np.float64) - other)
        return float(difference.max(initial=0.0)) / self.scale


Rows = Mapping[str, Row]


def beyond(rows: Rows) -> dict[str, float]:
    """The rows that differ by more than their tolerance, and by how much. What is not a number differs."""
    found = {name: row.off_by(row.theirs) for name, row in rows.items()}
    return {name: error for name, error in found.items() if not error <= rows[name].tolerance}


def allowances(rows: Rows, off: Mapping[str, float], again: Callable[[int], Rows]) -> dict[str, float]:
    """For each row of ``off`` what it may differ by: its tolerance, or a few times its own rounding.

    ``again(draw)`` gives the rows of the same case with every weight changed by a rounding.
    """
    spread = dict.fromkeys(off, 0.0)
    for draw in range(WEIGHT_DRAWS):
        changed = again(draw)
        spread = {name: max(spread[name], rows[name].off_by(changed[name].ours)) for name in off}
    allowed = {}
    for name, own in spread.items():
        tolerance = rows[name].tolerance
        allowed[name] = min(max(tolerance, TIMES_OWN_ROUNDING * own), MOST_OF_A_TOLERANCE * tolerance)
    return allowed


def assert_same_up_to_rounding(rows: Rows, again: Callable[[int], Rows]) -> dict[str, float]:
    """Every row is the original's; returns what the rows that needed it were allowed."""
    off = beyond(rows)
    if not off:
        return {}
    allowed = allowances(rows, off, again)
    wrong = [
        f"{name}: {error:.2e}, allowed {allowed[name]:.2e}" for name, error in off.items() if not error <= allowed[name]
    ]
    assert not wrong, "; ".join(wrong)
    return allowed


@contextlib.contextmanager
def rounded_weights(network: nn.Cell, draw: int) -> Iterator[None]:
    """Every weight changed by a rounding, and back."""
    rng = np.random.default_rng([7, draw])
    kept = {name: parameter.asnumpy().copy() for name, parameter in network.parameters_and_names()}
    try:
        for name, parameter in network.parameters_and_names():
            noise = 1 + WEIGHT_NOISE * rng.standard_normal(kept[name].shape)
            parameter.set_data(ms.Tensor((kept[name] * noise).astype(kept[name].dtype)))
        yield
    finally:
        for name, parameter in network.parameters_and_names():
            parameter.set_data(ms.Tensor(kept[name]))
