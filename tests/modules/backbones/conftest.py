"""Operator by operator, but for one test each of Swin and ConvNeXt: the families' tests compile residual networks."""

from __future__ import annotations

import mindspore as ms
import pytest

from tests.parity.modes import mode


@pytest.fixture(autouse=True)
def operator_by_operator():
    before = ms.get_context("mode")
    with mode(compiled=False):
        yield
    ms.set_context(mode=before)


@pytest.fixture
def compiled(operator_by_operator):  # noqa: ARG001  (after it)
    with mode(compiled=True):
        yield
