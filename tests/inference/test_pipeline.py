"""The threads between reading, inference and writing: bounded, ordered, and errors arrive where they can be met."""

from __future__ import annotations

import threading
import time

import pytest

from mindvideo.inference.pipeline import ReadAhead, WriteAfter


def test_items_come_in_order_and_few_ahead() -> None:
    made = []

    def source():
        for index in range(50):
            made.append(index)
            yield index

    with ReadAhead(source(), depth=3) as ahead:
        for expected, item in enumerate(ahead):
            assert item == expected
            assert len(made) <= expected + 6  # the queue, the one waiting for room, the one at hand
    assert len(made) == 50


def test_reading_goes_on_while_the_consumer_works() -> None:
    def slow_source():
        for index in range(8):
            time.sleep(0.03)
            yield index

    started = time.monotonic()
    with ReadAhead(slow_source(), depth=2) as ahead:
        for _ in ahead:
            time.sleep(0.03)
    assert time.monotonic() - started < 0.42  # one after the other it would be 0.48 s


def test_an_error_of_the_source_comes_after_its_items() -> None:
    def source():
        yield 1
        raise OSError("lost")

    found = []
    with pytest.raises(OSError, match="lost"), ReadAhead(source(), depth=3) as ahead:
        found.extend(iter(ahead))
    assert found == [1]


def test_leaving_early_stops_the_reading_thread() -> None:
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    items = endless()
    before = threading.active_count()
    with ReadAhead(items, depth=2) as ahead:
        next(iter(ahead))
    assert threading.active_count() == before
    items.close()
    assert closed.is_set()


def test_everything_put_is_written_in_order() -> None:
    written = []
    with WriteAfter(written.append, depth=2) as behind:
        for index in range(30):
            behind.put(index)
        behind.flush()
        assert written == list(range(30))


def test_an_interruption_still_writes_what_was_put() -> None:
    written = []

    def slowly(item: int) -> None:
        time.sleep(0.01)
        written.append(item)

    with pytest.raises(KeyboardInterrupt), WriteAfter(slowly, depth=5) as behind:
        for index in range(5):
            behind.put(index)
        raise KeyboardInterrupt
    assert written == list(range(5))


def test_an_error_of_the_writer_reaches_the_producer_and_ends_the_writing() -> None:
    written = []

    def fail_at_two(item: int) -> None:
        if item == 2:
            raise OSError("no room")
        written.append(item)

    with pytest.raises(OSError, match="no room"), WriteAfter(fail_at_two, depth=1) as behind:
        for index in range(1000):
            behind.put(index)
    assert written == [0, 1]
    with pytest.raises(OSError, match="no room"), WriteAfter(fail_at_two, depth=9) as behind:
        behind.put(2)
        behind.flush()
