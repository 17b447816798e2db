"""Parity is shown on compiled graphs, which is how users run the models."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def graph_mode():
    import mindspore as ms

    ms.set_context(mode=ms.GRAPH_MODE)
