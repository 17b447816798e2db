"""Shared fixtures. ``import mindvideo`` comes first so that the environment is prepared before MindSpore."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import mindvideo  # noqa: F401  (prepares the environment)

TESTS = Path(__file__).resolve().parent
# Programs that tests start find this checkout and these tests too.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(TESTS.parent), os.environ.get("PYTHONPATH")]))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden", default=str(TESTS / "golden"), help="folder with golden data, laid out as tests/golden"
    )
    parser.addoption(
        "--sizes", type=int, default=0, metavar="SEED", help="other sizes and values for the matrix over all families"
    )


def pytest_collection_finish() -> None:
    """MindSpore collects garbage before it compiles a graph: all that is imported by now need not be looked through."""
    gc.freeze()


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Path:
    """Root of the golden data: numbers that the original code produced."""
    root = Path(request.config.getoption("--golden")).resolve()
    if not root.is_dir():
        raise pytest.UsageError(f"--golden {root}: no such folder")
    return root


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A tool that a test runs sets up mindvideo's logging for its process; the next test finds it as it was."""
    logger = logging.getLogger("mindvideo")
    level, propagate, handlers = logger.level, logger.propagate, list(logger.handlers)
    yield
    for handler in set(logger.handlers) - set(handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(level)
    logger.propagate = propagate
