"""The messages of a run while it works."""

from __future__ import annotations

import logging

import pytest

from mindvideo import logs


def test_progress_lines_leave_the_first_item_out_of_the_rate(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first waits for a graph to compile: 100 s here, then 2 s an item."""
    clock = iter([0.0, 100.0, 102.0, 104.0, 106.0])
    monkeypatch.setattr(logs.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(logs.sys.stderr, "isatty", lambda: False, raising=False)
    logger = logging.getLogger(f"{logs.ROOT}.progress")
    with caplog.at_level("INFO", logger=logger.name):
        monkeypatch.setattr(logging.getLogger(logs.ROOT), "propagate", True)
        assert list(logs.progress(range(4), total=10, label="video", unit="frame", every_seconds=1.0)) == [0, 1, 2, 3]
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "video: 1/10 frame",
        "video: 2/10 frame, 0.5 frame/s, 16 s left",
        "video: 3/10 frame, 0.5 frame/s, 14 s left",
        "video: 4/10 frame, 0.5 frame/s, 12 s left",
    ]
