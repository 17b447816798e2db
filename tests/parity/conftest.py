"""A test of this folder that says nothing runs compiled, which is how users run the models (see tests/modes.py)."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def graph_mode():
    if "mindspore" not in sys.modules:  # the files about data need none of it
        yield
        return
    from tests.modes import mode

    with mode(compiled=True):
        yield
