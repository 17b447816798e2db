"""TensorBoard reads our event files."""

from __future__ import annotations

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mindvideo.training.event_file import EventFile, crc32c
from mindvideo.weights.varint import write_varint


def test_checksum_of_the_standard_vectors():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43


def test_varint_of_large_steps():
    assert write_varint(300) == b"\xac\x02"
    assert write_varint(0) == b"\0"


def read(folder) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return events


def test_tensorboard_reads_what_was_written(tmp_path):
    events = EventFile(tmp_path)
    for step in (1, 200, 70_000):
        events.scalars(step, {"train/loss": step / 3, "train/größe": -1.5})
    events.close()
    found = read(tmp_path)
    assert found.Tags()["scalars"] == ["train/loss", "train/größe"]
    assert [event.step for event in found.Scalars("train/loss")] == [1, 200, 70_000]
    assert [event.value for event in found.Scalars("train/loss")] == pytest.approx([1 / 3, 200 / 3, 70_000 / 3])
    assert found.Scalars("train/größe")[0].wall_time > 1.6e9


def test_a_resumed_run_replaces_the_steps_it_does_again(tmp_path):
    first = EventFile(tmp_path)
    for step in (1, 2, 3, 4):
        first.scalars(step, {"loss": 1.0})
    first.close()
    second = EventFile(tmp_path, first_step=3)
    for step in (3, 4, 5):
        second.scalars(step, {"loss": 2.0})
    second.close()
    assert [(event.step, event.value) for event in read(tmp_path).Scalars("loss")] == [
        (1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0)
    ]  # fmt: skip
