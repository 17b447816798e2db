"""Shared fixtures. ``import mindvideo`` comes first so that the environment is prepared before MindSpore."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import mindvideo  # noqa: F401  (prepares the environment)

TESTS = Path(__file__).resolve().parent
sys.path.insert(0, str(TESTS.parent))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden", default=str(TESTS / "golden"), help="folder with golden data, laid out as tests/golden"
    )


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Path:
    """Root of the golden data: numbers that the original code produced."""
    root = Path(request.config.getoption("--golden")).resolve()
    if not root.is_dir():
        raise pytest.UsageError(f"--golden {root}: no such folder")
    return root
