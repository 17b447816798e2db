"""A pytest plugin (``-p tests.runner.events``) that writes one JSON line for every test that starts or ends.

A line is on disk before the test runs, so when the process dies the last line names the test that was running.
MINDVIDEO_TEST_EVENTS is the file; MINDVIDEO_TEST_PIECE, ``[number, pieces]`` as JSON, keeps a part of the tests.
"""

from __future__ import annotations

import json
import os

import pytest


def _write(**event: object) -> None:
    with open(os.environ["MINDVIDEO_TEST_EVENTS"], "a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")


def piece_of(names: list[str], number: int, pieces: int | list[str]) -> list[bool]:
    """Which of the tests are in that piece, counted from 0.

    ``pieces``: that many of about equal length; or strings: a test is in the piece of the first string that its name
    contains, and in a last one when it contains none.
    """
    if isinstance(pieces, int):
        return [place * pieces // len(names) == number for place in range(len(names))]
    return [next((n for n, part in enumerate(pieces) if part in name), len(pieces)) == number for name in names]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    keep = piece_of([item.nodeid for item in items], *json.loads(os.environ.get("MINDVIDEO_TEST_PIECE", "[0, 1]")))
    left_out = [item for item, kept in zip(items, keep) if not kept]
    items[:] = [item for item, kept in zip(items, keep) if kept]
    if left_out:
        config.hook.pytest_deselected(items=left_out)


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.option.collectonly:
        _write(event="selected", files=sorted({str(item.path) for item in session.items}))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _write(event="end", test=report.nodeid, outcome="failed", seconds=0.0)


def pytest_runtest_logstart(nodeid: str) -> None:
    _write(event="start", test=nodeid)


class _Outcomes:
    """The worst outcome and the seconds of each test over its set-up, call and tear-down."""

    def __init__(self) -> None:
        self.outcome, self.seconds = "passed", 0.0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "setup":
            self.outcome, self.seconds = "passed", 0.0
        self.seconds += report.duration
        if report.outcome != "passed" and self.outcome != "failed":
            self.outcome = report.outcome

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        _write(event="end", test=nodeid, outcome=self.outcome, seconds=self.seconds)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Outcomes())
