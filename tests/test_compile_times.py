"""The times of compiling: remembered for messages, and never in the way."""

from __future__ import annotations

import dataclasses
import logging
import time

import numpy as np
import pytest

from mindvideo import compile_times
from mindvideo.compile_times import kept_graphs
from mindvideo.data.media.frame_size import ShortSideResize, size_after
from mindvideo.inference.compile_notice import compiling_seconds
from mindvideo.inference.output.store import VideoReport
from mindvideo.inference.track import TrackedVideo
from mindvideo.structures import Frame, VideoInstances


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("MINDVIDEO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in {"on": False, "compiles": True}.items():  # whatever ran before in this process
        monkeypatch.setattr(kept_graphs, name, value)
    return tmp_path / "cache" / "mindvideo" / compile_times.FILE


def test_a_time_is_remembered_for_its_graph():
    assert "minutes for a large one" in compile_times.about("vistr training")
    compile_times.remember("vistr training", 23.6)
    compile_times.remember("vistr inference", 0.2)
    compile_times.remember("other training", 236)
    assert compile_times.about("vistr training") == "about 24 s"
    assert compile_times.about("vistr inference") == "about 1 s"
    assert compile_times.about("other training") == "about 4 min"


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a training": "x", "b": null}', '{"a training": -1}', "\x00"])
def test_a_damaged_file_is_no_file(own_cache, content):
    own_cache.parent.mkdir(parents=True)
    own_cache.write_text(content)
    assert "minutes" in compile_times.about("a training")
    compile_times.remember("a training", 5)
    assert compile_times.about("a training") == "about 5 s"


def test_the_file_does_not_grow_without_end_and_may_be_impossible(own_cache, monkeypatch):
    monkeypatch.setattr(compile_times, "_MAX_ENTRIES", 3)
    for number in range(5):
        compile_times.remember(f"{number} training", number)
    assert "minutes" in compile_times.about("0 training") and compile_times.about("4 training") == "about 4 s"
    monkeypatch.delenv("MINDVIDEO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no-such-place")
    compile_times.remember("a training", 5)  # nothing is written, nothing is said


class SlowAtFirst:
    """A tracker whose first answer takes a while for every new size."""

    graph_name = "slow"

    def __init__(self) -> None:
        self.seen: set[tuple[int, int]] = set()

    def begin(self, *, size, num_frames, video_id) -> None:
        self.size, self.video_id, self.fed = size, video_id, 0

    def feed(self, frame) -> list[VideoInstances]:
        self.fed += 1
        if self.size not in self.seen:
            self.seen.add(self.size)
            time.sleep(0.2)
        return [VideoInstances.nothing(video_id=self.video_id, size=self.size, num_frames=1)]

    def finish(self) -> VideoInstances:
        return VideoInstances.nothing(video_id=self.video_id, size=self.size, num_frames=self.fed)


def run(tracker: SlowAtFirst, size: tuple[int, int]) -> float:
    """Seconds of compiling that the video was counted."""
    before = compiling_seconds()
    frames = [Frame(image=np.zeros((*size, 3), np.uint8), index=index, source=str(index)) for index in range(3)]
    TrackedVideo(tracker, frames, size=size, num_frames=3, video_id=1).run()
    return compiling_seconds() - before


def test_each_new_size_is_said_once_and_counted_apart(caplog):
    tracker = SlowAtFirst()
    with caplog.at_level(logging.INFO, logger="mindvideo.inference"):
        logging.getLogger("mindvideo").propagate = True
        spent = [run(tracker, size) for size in ((8, 6), (8, 6), (6, 8))]
    assert 0.2 <= spent[0] < 2 and spent[1] == 0 and 0.2 <= spent[2] < 2
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split(" (")[0] for message in messages if message.startswith("compiling")] == [
        "compiling the network for frames of 6x8",  # width x height
        "compiling the network for frames of 8x6",
    ]
    assert "minutes" in messages[0] and "about 1 s" in messages[2]


def test_pictures_of_many_sizes_that_the_network_sees_as_one_compile_once(caplog):
    resize = ShortSideResize(short_side=48, long_side=100, multiple=32)
    sizes = [(480, 640), (427, 640), (500, 600)]
    assert [size_after(resize, size) for size in sizes] == [(64, 64)] * 3
    assert resize(np.zeros((427, 640, 3), np.uint8)).shape == (64, 64, 3)
    assert size_after(resize, (100, 300)) == (32, 96) and size_after(lambda frame: frame, (5, 7)) == (5, 7)
    tracker = SlowAtFirst()
    tracker.seen_size = lambda size: size_after(resize, size)
    with caplog.at_level(logging.INFO, logger="mindvideo.inference"):
        logging.getLogger("mindvideo").propagate = True
        for size in sizes:
            run(tracker, size)
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("compiling")]
    assert len(said) == 1 and "frames of 64x64" in said[0]


class Compiling(SlowAtFirst):
    """Its first answer runs operator by operator, its second compiles for three seconds."""

    def feed(self, frame) -> list[VideoInstances]:
        if self.fed == 0:
            kept_graphs.stepped += 1
        elif self.fed == 1:
            kept_graphs.traced += 1
            kept_graphs.seconds += 3.0
        return super().feed(frame)


def test_what_goes_operator_by_operator_at_first_is_said_and_only_compiling_is_counted(caplog, monkeypatch):
    was = dataclasses.replace(kept_graphs)
    for name, value in {"on": True, "compile_after": 2.0, "seconds": was.seconds}.items():
        monkeypatch.setattr(kept_graphs, name, value)
    with caplog.at_level(logging.INFO, logger="mindvideo.inference"):
        logging.getLogger("mindvideo").propagate = True
        assert run(Compiling(), (8, 6)) == pytest.approx(3.0)
    first, answered, compiled = [record.getMessage() for record in caplog.records]
    assert first == (
        "frames of 6x8: operator by operator at first, then compiled (ten seconds for a small network, minutes for a "
        "large one), unless an earlier run did"
    )
    assert answered.startswith("the first answer took 0.") and compiled == "compiled, which took 3.0 s"
    assert compile_times.about("slow inference") == "about 3 s"


def test_where_nothing_is_compiled_nothing_is_said_or_remembered(caplog, monkeypatch):
    monkeypatch.setattr(kept_graphs, "compiles", False)
    with caplog.at_level(logging.INFO, logger="mindvideo.inference"):
        logging.getLogger("mindvideo").propagate = True
        assert run(SlowAtFirst(), (8, 6)) == 0.0
    assert not caplog.records and "minutes" in compile_times.about("slow inference")


def test_rates_leave_compiling_out():
    report = VideoReport(name="a", status="done", frames=100, seconds=30.0, compile_seconds=20.0)
    assert report.frames_per_second == 10.0
    assert VideoReport(name="a", status="skipped").frames_per_second is None
