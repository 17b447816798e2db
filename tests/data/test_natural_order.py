"""Frames in the order of their numbers."""

from __future__ import annotations

from pathlib import Path

from mindvideo.data.media.images import natural_order


def test_numbers_count_as_numbers() -> None:
    names = ["frame10.jpg", "frame2.jpg", "frame\u0663.jpg"]  # the last: an Arabic 3
    assert [path.name for path in natural_order(map(Path, names))] == [names[1], names[2], names[0]]


def test_digits_that_are_no_numbers_are_letters() -> None:
    assert [path.name for path in natural_order([Path("²1.jpg"), Path("1.jpg")])] == ["1.jpg", "²1.jpg"]
