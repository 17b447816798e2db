"""Compiled or operator by operator: up to rounding the same numbers, but compiling takes ten times as long as running.

Users run compiled graphs. So of every family one case of training and one of inference is compiled, the one that
switches on the most, and its siblings run operator by operator. ``tests/test_family_matrix.py`` compares the two for
every family.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import mindspore as ms


@contextlib.contextmanager
def mode(*, compiled: bool) -> Iterator[None]:
    """Inside, graphs are compiled or not, and afterwards they are; a gradient function must be *made* inside, too."""
    ms.set_context(mode=ms.GRAPH_MODE if compiled else ms.PYNATIVE_MODE)
    try:
        yield
    finally:
        ms.set_context(mode=ms.GRAPH_MODE)
