"""Operator by operator, but for one test each of Swin and ConvNeXt: the families' tests compile residual networks."""

from __future__ import annotations

import pytest

from tests.modes import mode


@pytest.fixture(autouse=True)
def _all_of_them(operator_by_operator): ...  # noqa: ARG001


@pytest.fixture
def compiled(operator_by_operator):  # noqa: ARG001  (after it)
    with mode(compiled=True):
        yield
