"""Exported graphs: the file equals the network, also over several frames of carried state, and says what it needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from mindvideo.errors import UserError
from mindvideo.inference import export
from mindvideo.inference.export import ExportPlan, export_graph, load_graph, native_operators

TOOL = Path(__file__).resolve().parents[2] / "tools" / "segmentation" / "export.py"


class RunningMean(nn.Cell):
    """A step with state: the mean brightness of this frame, and the sum and number of frames so far."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = ms.Parameter(ms.Tensor(np.array([1.5], np.float32)), name="gain")

    def construct(self, image, total, seen):
        brightness = ops.cast(image, ms.float32).mean() * self.gain
        return brightness, total + brightness, seen + 1


def _plan() -> ExportPlan:
    state = {"total": ms.Tensor(np.zeros(1, np.float32)), "seen": ms.Tensor(np.zeros(1, np.int32))}
    image = ms.Tensor(np.zeros((4, 5, 3), np.uint8))
    return ExportPlan(
        graph=RunningMean(), inputs={"image": image, **state}, outputs=("brightness",), state=("total", "seen")
    )


def test_a_graph_with_state_equals_its_network(tmp_path: Path) -> None:
    path = tmp_path / "mean.mindir"
    comparisons = export_graph(_plan(), path, calls=4)
    assert [each.name for each in comparisons] == ["brightness", "next_total", "next_seen"]
    assert all(each.difference <= 1e-5 * each.largest for each in comparisons)
    assert comparisons[2].largest == 4  # the state was carried through all four calls
    assert [file.name for file in tmp_path.iterdir()] == ["mean.mindir"]
    assert native_operators(path) == {}
    graph = load_graph(path)
    outputs = graph(ms.Tensor(np.full((4, 5, 3), 10, np.uint8)), *list(_plan().inputs.values())[1:])
    assert float(outputs[0].asnumpy().item()) == pytest.approx(15.0)


def test_a_graph_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(RunningMean):
        def construct(self, image, total, seen):
            brightness, total, seen = super().construct(image, total, seen)
            return brightness, total + 1.0, seen

    wrong = Wrong()
    monkeypatch.setattr(export, "load_graph", lambda path: wrong)
    with pytest.raises(UserError, match="differs from the network, in next_total"):
        export_graph(_plan(), tmp_path / "mean.mindir")
    assert list(tmp_path.iterdir()) == []


def test_native_operators_are_found(tmp_path: Path) -> None:
    content = b"\x08\x12/opt/x/libmindvideo_cpu.so:Foo\x00junk\x12/opt/x/libmindvideo_cpu.so:Bar\n"
    (tmp_path / "graph.mindir").write_bytes(content)
    assert native_operators(tmp_path / "graph.mindir") == {"/opt/x/libmindvideo_cpu.so": {"Foo", "Bar"}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "64"], "WIDTHxHEIGHT"),
        (["--size", "64x64"], "--weights is missing"),
        (["--size", "64x64", "--weights", "w.ckpt", "--output", "model.pb"], "ends in .mindir or .onnx"),
        (["--size", "64x64", "--weights", "w.ckpt", "--output", "a.mindir", "--format", "onnx"], "ends in .onnx"),
    ],
)
def test_mistakes_get_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "toy.yaml").write_text("family: vistr\nname: toy\n")
    command = [sys.executable, str(TOOL), "-c", str(tmp_path / "toy.yaml"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert json.dumps([file.name for file in tmp_path.iterdir()]) == '["toy.yaml"]'
