"""Differences that pass as rounding, and others that do not."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from tests.parity.rounding import (
    MOST_OF_A_TOLERANCE,
    TIMES_OWN_ROUNDING,
    Row,
    assert_same_up_to_rounding,
    beyond,
    rounded_weights,
)

VALUES = np.linspace(-1, 1, 50)


def rows(error: float = 0.0, change: float = 0.0, tolerance: float = 1e-5) -> dict[str, Row]:
    ours = VALUES.copy()
    ours[7] += change
    theirs = VALUES.copy()
    theirs[20] -= error
    return {"values": Row(ours, theirs, tolerance)}


def never(draw: int):
    raise AssertionError("a case within its tolerance runs once")


def test_within_the_tolerance_nothing_is_run_again():
    assert assert_same_up_to_rounding(rows(error=0.9e-5), never) == {}


@pytest.mark.parametrize(("error", "own", "passes"), [(2e-5, 1e-5, True), (9e-5, 1e-5, False), (2e-5, 1e-6, False)])
def test_a_larger_difference_is_measured_by_the_cases_own_rounding(error, own, passes):
    assert (error <= TIMES_OWN_ROUNDING * own) is passes
    if passes:
        assert assert_same_up_to_rounding(rows(error), lambda draw: rows(change=own)) == {"values": pytest.approx(8e-5)}
    else:
        with pytest.raises(AssertionError, match="values: "):
            assert_same_up_to_rounding(rows(error), lambda draw: rows(change=own))


def test_a_case_that_is_all_rounding_proves_nothing():
    with pytest.raises(AssertionError, match="allowed 1.00e-04"):
        assert_same_up_to_rounding(rows(error=2 * MOST_OF_A_TOLERANCE * 1e-5), lambda draw: rows(change=1.0))


def test_nan_and_another_shape_are_no_rounding():
    assert beyond({"values": Row(np.full(3, np.nan), np.zeros(3), 1.0)})
    with pytest.raises(AssertionError, match="against"):
        beyond({"values": Row(np.zeros(3), np.zeros(4), 1.0)})


def test_weights_change_by_a_rounding_and_come_back():
    network = nn.Dense(4, 3)
    before = network.weight.asnumpy().copy()
    with rounded_weights(network, 1):
        share = np.abs(network.weight.asnumpy() / before - 1)
        assert 0 < share.max() < 1e-6
    np.testing.assert_array_equal(network.weight.asnumpy(), before)
    with pytest.raises(ZeroDivisionError), rounded_weights(network, 2):
        raise ZeroDivisionError
    np.testing.assert_array_equal(network.weight.asnumpy(), before)
    assert isinstance(network.weight, ms.Parameter)
