"""Graphs that outlive the process are found again by what decides them, and by nothing less."""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import sys

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, nn, ops

from mindvideo.compile_times import kept_graphs
from mindvideo.execution import fingerprint as fingerprint_module
from mindvideo.execution import kept_graph
from mindvideo.execution.fingerprint import fingerprint
from mindvideo.execution.kept_graph import KeptGraph, keep_graphs
from mindvideo.execution.shared_graph import SharedGraph


class Scaled(nn.Cell):
    """x times a weight, plus a constant; twice where that is asked for."""

    def __init__(self, *, width: int = 3, constant: float = 1.0, table: tuple[float, ...] = (0.0, 0.0, 0.0)) -> None:
        super().__init__(auto_prefix=False)
        self.weight = Parameter(ms.Tensor(np.full(width, 2, np.float32)), name="weight")
        self.constant = constant
        self.table = ms.Tensor(np.array(table, np.float32))
        self.add = ops.Add()

    def construct(self, x: ms.Tensor, times: int = 1) -> ms.Tensor:
        for _ in range(times):
            x = self.add(x * self.weight, self.table) + self.constant
        return x


@pytest.fixture
def keeping(tmp_path, monkeypatch):
    """The folder of the graphs."""
    monkeypatch.setenv("MINDVIDEO_CACHE", str(tmp_path))
    ms.set_context(mode=ms.GRAPH_MODE)
    was = dataclasses.replace(kept_graphs)
    keep_graphs(True)
    yield tmp_path / kept_graph.FOLDER
    keep_graphs(was.on, compile_after=was.compile_after)


def row(*values: float) -> ms.Tensor:
    return ms.Tensor(np.array(values, np.float32))


def answer(cell: nn.Cell, *inputs) -> tuple[list[float], str]:
    """The numbers of a new start of the cell, and whether its graph was found or traced."""
    before = (kept_graphs.found, kept_graphs.traced)
    numbers = KeptGraph(cell)(*inputs).asnumpy().tolist()
    found, traced = kept_graphs.found - before[0], kept_graphs.traced - before[1]
    return numbers, {(1, 0): "found", (0, 1): "traced"}[found, traced]


def test_a_second_start_finds_the_graph_of_the_first(keeping):
    assert answer(Scaled(), row(1, 2, 3)) == ([3, 5, 7], "traced")
    assert answer(Scaled(), row(4, 5, 6)) == ([9, 11, 13], "found")


def test_the_first_calls_go_operator_by_operator_until_their_time_is_spent(keeping, monkeypatch):
    keep_graphs(True, compile_after=1000)
    now = iter(range(0, 10_000, 300))  # every look at the clock is 300 s after the one before
    monkeypatch.setattr(kept_graph.time, "monotonic", lambda: next(now))
    before = dataclasses.replace(kept_graphs)
    graph = KeptGraph(Scaled())
    seen = []
    for number in range(1, 6):
        assert graph(row(number, 0, 1)).asnumpy().tolist() == [2 * number + 1, 1, 3]
        assert ms.get_context("mode") == ms.GRAPH_MODE
        seen.append((kept_graphs.stepped - before.stepped, kept_graphs.traced - before.traced, keeping.exists()))
    assert seen == [(1, 0, False), (2, 0, False), (3, 0, False), (4, 0, False), (4, 1, True)]
    assert kept_graphs.seconds - before.seconds == 300  # those of compiling, no others
    assert graph(ms.Tensor(np.ones((2, 3), np.float32))).shape == (2, 3)  # another shape has a time of its own
    assert kept_graphs.stepped - before.stepped == 5
    assert answer(Scaled(), row(1, 2, 3)) == ([3, 5, 7], "found")  # the next start need not wait


def test_operator_by_operator_a_call_has_the_weights_of_its_moment(keeping):
    keep_graphs(True, compile_after=1000)
    cells = [Scaled() for _ in range(3)]
    for value, cell in enumerate(cells):
        cell.weight.set_data(row(value, value, value))
    for _ in range(2):
        assert [layer(row(1, 2, 3)).asnumpy().tolist() for layer in SharedGraph(cells)] == [
            [1, 1, 1], [2, 3, 4], [3, 5, 7],
        ]  # fmt: skip
    assert not keeping.exists()


def test_an_error_operator_by_operator_leaves_graphs_switched_on(keeping):
    keep_graphs(True, compile_after=1000)
    with pytest.raises((ValueError, RuntimeError)):
        KeptGraph(Scaled())(row(1, 2)).asnumpy()  # no shape for three weights
    assert ms.get_context("mode") == ms.GRAPH_MODE


@pytest.mark.parametrize(
    ("other", "given", "expected"),
    [
        ({"constant": 5.0}, (row(1, 2, 3),), [7, 9, 11]),
        ({"table": (1.0, 0.0, 0.0)}, (row(1, 2, 3),), [4, 5, 7]),
        ({"width": 1}, (row(1, 2, 3),), [3, 5, 7]),
        ({}, (row(1, 2, 3), 2), [7, 11, 15]),
        ({}, (ms.Tensor(np.ones((2, 3), np.float32)),), [[3, 3, 3], [3, 3, 3]]),
    ],
    ids=["setting", "constant", "shape of a weight", "input that is no tensor", "shape of an input"],
)
def test_what_differs_in_anything_is_another_graph(keeping, other, given, expected):
    answer(Scaled(), row(1, 2, 3))
    assert answer(Scaled(**other), *given) == (expected, "traced")
    assert len(list(keeping.glob("*.mindir"))) == 2


def test_the_graph_follows_the_weights_of_its_cell(keeping):
    cell = Scaled()
    graph = KeptGraph(cell)
    assert graph(row(1, 1, 1)).asnumpy().tolist() == [3, 3, 3]
    cell.weight.set_data(row(1, 2, 3))
    assert graph(row(1, 1, 1)).asnumpy().tolist() == [2, 3, 4]
    ops.assign(cell.weight, row(5, 5, 5))
    assert graph(row(1, 1, 1)).asnumpy().tolist() == [6, 6, 6]
    other = Scaled()
    other.weight.set_data(row(0, 0, 1))
    assert answer(other, row(1, 1, 1)) == ([1, 1, 2], "found")  # no weights are kept
    assert graph(row(1, 1, 1)).asnumpy().tolist() == [6, 6, 6]


def test_a_damaged_file_is_compiled_again(keeping, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("mindvideo"), "propagate", True)
    answer(Scaled(), row(1, 2, 3))
    (path,) = keeping.glob("*.mindir")
    path.write_bytes(path.read_bytes()[:-7])
    assert answer(Scaled(), row(1, 2, 3)) == ([3, 5, 7], "traced")
    assert "is damaged" in caplog.text
    assert answer(Scaled(), row(1, 2, 3)) == ([3, 5, 7], "found")


def test_without_a_place_for_files_it_works_and_says_so(keeping, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("mindvideo"), "propagate", True)
    keeping.write_text("no folder")
    assert answer(Scaled(), row(1, 2, 3)) == ([3, 5, 7], "traced")
    assert "not kept for the next start" in caplog.text


def test_files_that_were_not_used_for_longest_go(keeping, monkeypatch):
    monkeypatch.setattr(kept_graph, "MAX_FILES", 2)
    for constant in (1.0, 2.0):
        answer(Scaled(constant=constant), row(1, 2, 3))
    for age, path in enumerate(sorted(keeping.glob("*.mindir"), key=lambda each: each.stat().st_mtime)):
        os.utime(path, (1000 + age, 1000 + age))
    assert answer(Scaled(constant=1.0), row(1, 2, 3))[1] == "found"  # now the latest
    answer(Scaled(constant=3.0), row(1, 2, 3))
    assert answer(Scaled(constant=1.0), row(1, 2, 3))[1] == "found"
    assert answer(Scaled(constant=2.0), row(1, 2, 3))[1] == "traced"


def test_nothing_is_kept_where_that_is_switched_off(keeping):
    keep_graphs(False)
    assert KeptGraph(Scaled())(row(1, 2, 3)).asnumpy().tolist() == [3, 5, 7]
    assert not keeping.exists()


def test_a_fingerprint_is_the_same_in_every_process_and_changes_with_a_source(tmp_path):
    source = '''"""A cell outside the package."""

import mindspore as ms
from mindspore import nn

from mindvideo.execution.fingerprint import fingerprint
from mindvideo.modules.backbones.catalogue import build_backbone


class Twice(nn.Cell):
    def __init__(self):
        super().__init__()
        self.backbone = build_backbone(name="resnet_small", widths=[8, 8, 8, 8], norm="batch")

    def construct(self, x):
        return self.backbone(x)
'''
    (tmp_path / "twice.py").write_text(source)

    def printed() -> str:
        command = "import twice; print(twice.fingerprint(twice.Twice()))"
        done = subprocess.run([sys.executable, "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.split()[-1]

    first = printed()
    assert printed() == first and len(first) == 64
    (tmp_path / "twice.py").write_text(source + "# changed\n")
    assert printed() != first


def test_short_lived_values_of_one_address_are_not_taken_for_each_other():
    def words(*sizes: int) -> list[str]:
        fresh = ([size] for size in sizes)  # each is gone before the next is made, which often lies in its place
        seen: dict = {}
        return [word for each in fresh for word in fingerprint_module._words_of(each, seen)]

    assert words(*range(50)) == words(*range(50))
    assert sum(word.startswith("as ") for word in words(*range(50))) == 0


def test_sources_that_were_edited_meanwhile_keep_nothing(keeping, monkeypatch):
    monkeypatch.setattr(fingerprint_module, "_BEGAN", 0)  # every file is newer
    assert fingerprint(Scaled()) is None
    assert KeptGraph(Scaled())(row(1, 2, 3)).asnumpy().tolist() == [3, 5, 7] and not keeping.exists()


def test_compiling_leaves_no_trace_in_the_fingerprint():
    ms.set_context(mode=ms.GRAPH_MODE)
    cell = nn.SequentialCell([Scaled()])
    before = fingerprint(cell)
    cell[0](row(1, 2, 3))
    cell(row(1, 2, 3))
    assert fingerprint(cell) == before


def test_weights_leave_no_trace_in_the_fingerprint():
    cell = Scaled()
    before = fingerprint(cell)
    cell.weight.set_data(row(7, 7, 7))
    assert fingerprint(cell) == before
    assert fingerprint(Scaled(constant=2.0)) != before
