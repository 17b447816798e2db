"""Shared fixtures, and the environment that must be there before MindSpore is imported."""

from __future__ import annotations

import gc
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Operator by operator MindSpore hands every call through three queues whose threads wait by spinning: on one core a
# training step of the small InstanceFormer takes 10.8 s of which 9.5 s are waiting. With this it runs in the caller.
os.environ.setdefault("MS_DEV_HOST_BLOCKING_RUN", "1")

if "MINDVIDEO_CACHE" not in os.environ:
    # Graphs of tests must not push the graphs of the person who runs them out of the cache.
    _cache = tempfile.TemporaryDirectory(prefix="mindvideo-tests-", ignore_cleanup_errors=True)
    os.environ["MINDVIDEO_CACHE"] = _cache.name

import mindvideo  # noqa: E402, F401  (prepares the environment)

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


@pytest.fixture
def operator_by_operator() -> Iterator[None]:
    """Nothing is compiled: for what a test asks once, compiling takes many times as long as running."""
    from tests.modes import mode  # many files need no MindSpore

    with mode(compiled=False):
        yield


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
