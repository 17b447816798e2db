"""A test of this folder that says nothing runs compiled, which is how users run the models (see modes.py)."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def graph_mode():
    if "mindspore" not in sys.modules:  # the files about data need none of it
        yield
        return
    from tests.parity.modes import mode

    with mode(compiled=True):
        yield


@pytest.fixture
def operator_by_operator(graph_mode):  # noqa: ARG001  (after it)
    from tests.parity.modes import mode

    with mode(compiled=False):
        yield
